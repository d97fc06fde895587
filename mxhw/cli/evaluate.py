"""`mxhw evaluate`: how good a quantized model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mxhw.cli.app import AssignmentOption, ExtensionOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output
from mxhw.cli.graph_option import GraphOption

if TYPE_CHECKING:
    from mxhw.flow.scores import TaskScores, TextScores
    from mxhw.hardware import Platform
    from mxhw.passes.analysis import HardwareReport, Ledger

__all__ = ["evaluate"]

CALIBRATION_WINDOWS = 8


@app.command()
def evaluate(
    model: ModelArgument,
    assignment: AssignmentOption = None,
    arithmetic: Annotated[
        Literal["float", "hardware", "both", "integer", "all"],
        typer.Option(
            help="Round operands and multiply in float; or multiply exactly as the RTL does; or both; or compute the "
            "whole model in integers, as an emitted design does; or all three."
        ),
    ] = "float",
    calibration: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Text that integer streams get their exponents from; default: calibration."),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="A text file, a .npy file of token ids, a folder with a dataset, or a text of the model; default: "
            "heldout, or none with --tasks.",
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of the dataset; default: text, or its only one of text.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Split of the dataset; default: test, or its only one.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=2, help="Tokens a window, without overlap; default: 512, or the model's context.")
    ] = None,
    windows: Annotated[int, typer.Option(min=0, help="Windows to score; 0: all of the text.")] = 0,
    tasks: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Tasks of lm-eval; downloads need HF_DATASETS_OFFLINE=0 to be set."),
    ] = None,
    include_path: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder with tasks of your own (YAML); code that they name is run."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first documents of every task.")] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1, help="Windows, or requests of tasks, that run together; padded requests can change scales."
        ),
    ] = 1,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the parameters and all that is computed.")
    ] = "float32",
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Read the weights block by block: the same scores in the memory of two blocks."),
    ] = False,
    per_node: Annotated[
        bool,
        typer.Option("--per-node", help="Also say where it hurts: the error of every node, on 8 windows of the text."),
    ] = False,
    top: Annotated[int, typer.Option(min=0, help="Nodes of --per-node to show, worst first; 0: all of them.")] = 20,
    graph_page: GraphOption = None,
    platform: Annotated[
        str, typer.Option(help="What cycles, area and energy are counted on; nodes without an array get 4×8.")
    ] = "asap7",
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Score a design: perplexity, KL and top-1 agreement with the float model, true bits; cycles, area, energy; tasks.

    Example: `mxhw evaluate demo --assignment build/demo/assignment.json --arithmetic both`;
    on a dataset and tasks: `mxhw evaluate MODEL --text wikitext-2-raw-v1 --split test --context 2048 --tasks arc_easy`
    """
    import torch

    from mxhw.cli.node_errors import compare, show_comparison
    from mxhw.flow.assignments import assignment_for
    from mxhw.flow.harness import load_tasks
    from mxhw.flow.scores import graph_arithmetics, score_streamed, score_tasks, score_text
    from mxhw.hardware import load_platform
    from mxhw.models import capture, load_model, read_ids, stream_model
    from mxhw.models import windows as cut_windows
    from mxhw.passes.analysis import QualityEvaluator, ledger
    from mxhw.passes.transform import WeightCache
    from mxhw.report.graph_page import write_graph_page

    _refuse_conflicts(
        {"--column": column, "--split": split, "--windows": windows},
        {"--include-path": include_path, "--limit": limit},
        has_text=tasks is None or text is not None,
        has_tasks=tasks is not None,
        per_node=per_node,
        has_page=graph_page is not None,
        stream=stream,
        integer=arithmetic in ("integer", "all"),
        has_calibration=calibration is not None,
    )
    output = Output(as_json=json)
    target = load_platform(platform)
    suite = None if tasks is None else load_tasks(tasks.split(","), include_path)
    streamed = stream_model(model, getattr(torch, dtype), sequence=context) if stream else None
    loaded = load_model(model, getattr(torch, dtype)) if streamed is None else streamed.loaded
    sequence = context or loaded.at_most_context(512)
    if suite is None or text is not None:
        text = text or "heldout"
        cut = cut_windows(read_ids(text, loaded, column=column, split=split), sequence, windows)
    graph = capture(loaded, batch=1, sequence=sequence) if streamed is None else streamed.graph
    given = assignment_for(graph, assignment)
    cache = WeightCache()
    bits = ledger(graph, given, sequence=sequence)
    result: dict[str, Any] = {"model": model, "bits": bits.to_json()}
    if text is not None:
        if streamed is not None:
            scores = score_streamed(
                streamed, cut, given, arithmetic, batch=batch, platform=target, progress=output.progress
            )
        else:
            evaluator = QualityEvaluator(
                graph,
                cut,
                bytes_per_token=loaded.bytes_per_token,
                batch=batch,
                progress=output.progress,
            )
            held_in = None
            if arithmetic in ("integer", "all"):
                ids = read_ids(calibration or "calibration", loaded)
                held_in = cut_windows(ids, sequence, min(CALIBRATION_WINDOWS, ids.numel() // sequence))
            scores = score_text(evaluator, given, arithmetic, calibration=held_in, platform=target, cache=cache)
        result |= {"text": text, **scores.to_json()}
        if not json:
            _show_text(output, f"{model}: {scores.predictions:,} predictions of {text}", scores)
    if per_node:
        comparisons = compare(output, graph, cut, given, graph_arithmetics(arithmetic), cache)
        result["per_node"] = [each.to_json() for each in comparisons]
        for each in () if json else comparisons:
            show_comparison(output, each, top)
        if graph_page is not None:
            write_graph_page(graph, graph_page, sequence=sequence, assignment=given, comparisons=comparisons)
            result["graph_page"] = str(graph_page)
    if suite is not None:
        found = score_tasks(
            loaded,
            graph,
            suite,
            given,
            arithmetic,
            limit=limit,
            context=context,
            batch=batch,
            cache=cache,
            progress=output.progress,
        )
        result["tasks"] = found.to_json()
        if not json:
            _show_tasks(output, f"{model}: lm-eval", found)
    if not json:
        _show_bits(output, bits)
        if text is not None:
            _show_hardware(output, target, scores)
    output.result(result)


def _refuse_conflicts(
    of_text: dict[str, object],
    of_tasks: dict[str, object],
    *,
    has_text: bool,
    has_tasks: bool,
    per_node: bool,
    has_page: bool,
    stream: bool,
    integer: bool,
    has_calibration: bool,
) -> None:
    """Raise an InputError for options that need, or exclude, one another."""
    from mxhw.errors import InputError

    for needed, given, options in (("--tasks NAME", has_tasks, of_tasks), ("--text", has_text, of_text)):
        if not given and any(options.values()):
            names = list(options)
            raise InputError(f"{', '.join(names[:-1])} and {names[-1]} go with {needed}, which is not given")
    if has_page and not per_node:
        raise InputError("--graph shows what --per-node measures, which is not given; without it: mxhw capture --graph")
    if per_node and not has_text:
        raise InputError("--per-node goes with a text, and --tasks alone has none; add --text heldout or a file")
    if integer and (has_tasks or per_node or stream):
        raise InputError("integer arithmetic scores a text; leave out --tasks, --per-node and --stream")
    if has_calibration and not integer:
        raise InputError("--calibration is for --arithmetic integer or all")
    if stream and (has_tasks or per_node):
        raise InputError("--stream scores a text; --tasks and --per-node need the whole model: leave one of them out")


def _show_text(output: Output, title: str, scores: TextScores) -> None:
    base = scores.baseline
    rows = [
        [
            name,
            f"{score.perplexity:.4f}",
            f"{score.perplexity - base:+.4f}",
            f"{score.perplexity / base:.5f}",
            "" if score.bits_per_byte is None else f"{score.bits_per_byte:.4f}",
            f"{score.kl:.6f}",
            f"{100 * score.agreement:.2f} %",
        ]
        for name, score in scores.qualities.items()
    ]
    columns = ["", "perplexity", "difference", "ratio", "bits a byte", "KL, nats a token", "top-1 agreement"]
    if not any(row[4] for row in rows):
        columns, rows = columns[:4] + columns[5:], [row[:4] + row[5:] for row in rows]
    output.table(title, columns, rows)


def _show_tasks(output: Output, title: str, scores: TaskScores) -> None:
    rows = [
        [task, str(documents), metric, *(f"{value:.6f}" for value in values.values())]
        for task, documents, metric, values in scores.rows()
    ]
    output.table(title, ["task", "documents", "metric", *scores.names], rows)


def _show_bits(output: Output, bits: Ledger) -> None:
    attention = bits.bits_per_attention_operand
    output.say(
        f"true bits: {bits.bits_per_weight:.4f} a weight, {bits.bits_per_input:.4f} an input element"
        + ("" if attention is None else f", {attention:.4f} an attention operand")
    )


def _show_hardware(output: Output, platform: Platform, scores: TextScores) -> None:
    if scores.coverage is not None:
        output.say(f"in hardware arithmetic: {100 * scores.coverage:.2f} % of the multiply-accumulates")
    if scores.saturated is not None:
        output.say(f"in integer arithmetic: {100 * scores.saturated:.2g} % of the elements of streams saturated")
    if scores.evaluation.hardware is not None:
        _show_cost(output, platform, scores.evaluation.hardware)


def _show_cost(output: Output, platform: Platform, cost: HardwareReport) -> None:
    used = ", ".join(
        f"{cost.resources.get(name, 0.0):,.0f} {amount.unit} {name}" for name, amount in platform.budget.items()
    )
    energy = "no energy figure" if cost.energy is None else f"{cost.energy * 1e-6:.2f} µJ"
    output.say(
        f"on {platform.name}, {cost.sequence} tokens: {cost.cycles:,} cycles one step after the other, "
        f"{cost.interval:,} between sequences; {used}; {energy}"
    )
