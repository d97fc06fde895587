"""`mxhw evaluate`: how good a quantized model is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mxhw.cli.app import AssignmentOption, ExtensionOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.hardware import Platform
    from mxhw.passes.analysis import HardwareReport, Quality

__all__ = ["evaluate"]


@app.command()
def evaluate(
    model: ModelArgument,
    assignment: AssignmentOption = None,
    arithmetic: Annotated[
        Literal["float", "hardware", "both"],
        typer.Option(help="Round operands and multiply in float; or multiply exactly as the RTL does; or both."),
    ] = "float",
    text: Annotated[
        str, typer.Option(metavar="TEXT", help="A text file, a .npy file of token ids, or a text of the model.")
    ] = "heldout",
    context: Annotated[
        int | None, typer.Option(min=2, help="Tokens a window, without overlap; default: 512, or the model's context.")
    ] = None,
    windows: Annotated[int, typer.Option(min=0, help="Windows to score; 0: all of the text.")] = 0,
    platform: Annotated[
        str, typer.Option(help="What cycles, area and energy are counted on; nodes without an array get 4×8.")
    ] = "asap7",
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Score a design: perplexity, KL and top-1 agreement with the float model, true bits; cycles, area, energy.

    Example: `mxhw evaluate demo --assignment build/demo/assignment.json --arithmetic both`
    """
    from mxhw.flow.assignments import assignment_for
    from mxhw.hardware import load_platform
    from mxhw.models import capture, load_model, read_ids
    from mxhw.models import windows as cut_windows
    from mxhw.passes.analysis import Evaluate, EvaluateConfig, QualityEvaluator
    from mxhw.passes.transform import WeightCache

    output = Output(as_json=json)
    target = load_platform(platform)
    loaded = load_model(model)
    context = context or loaded.at_most_context(512)
    cut = cut_windows(read_ids(text, loaded), context, windows)
    graph = capture(loaded, batch=1, sequence=context)
    given = assignment_for(graph, assignment)
    evaluator = QualityEvaluator(graph, cut, bytes_per_token=loaded.bytes_per_token, progress=output.progress)
    scores = {"float model": evaluator(graph, progress=True)}
    coverage, cache = None, WeightCache()
    modes: tuple[Literal["float", "hardware"], ...] = ("float", "hardware") if arithmetic == "both" else (arithmetic,)
    for mode in modes:
        config = EvaluateConfig(assignment=given, arithmetic=mode, platform=target)
        found = Evaluate(config, evaluator, cache).evaluation(graph)
        coverage = found.quantization.get("mac_coverage", coverage)
        scores["float emulation" if mode == "float" else "hardware arithmetic"] = found.quality
    bits, cost = found.ledger, found.hardware
    if not json:
        _show_scores(output, f"{model}: {scores['float model'].tokens:,} predictions of {text}", scores)
        attention = bits.bits_per_attention_operand
        output.say(
            f"true bits: {bits.bits_per_weight:.4f} a weight, {bits.bits_per_input:.4f} an input element"
            + ("" if attention is None else f", {attention:.4f} an attention operand")
        )
        if coverage is not None:
            output.say(f"in hardware arithmetic: {100 * coverage:.2f} % of the multiply-accumulates")
        if cost is not None:
            _show_cost(output, target, cost)
    output.result(
        {
            "model": model,
            "text": text,
            "scores": {name: score.to_json() for name, score in scores.items()},
            "bits": bits.to_json(),
            "hardware_mac_coverage": coverage,
            "hardware": None if cost is None else cost.totals(),
        }
    )


def _show_scores(output: Output, title: str, scores: Mapping[str, Quality]) -> None:
    base = scores["float model"].perplexity
    rows = [
        [
            name,
            f"{score.perplexity:.4f}",
            f"{100 * (score.perplexity / base - 1):+.3f} %",
            "" if score.bits_per_byte is None else f"{score.bits_per_byte:.4f}",
            f"{score.kl:.6f}",
            f"{100 * score.agreement:.2f} %",
        ]
        for name, score in scores.items()
    ]
    output.table(title, ["", "perplexity", "to float", "bits a byte", "KL, nats a token", "top-1 agreement"], rows)


def _show_cost(output: Output, platform: Platform, cost: HardwareReport) -> None:
    used = ", ".join(f"{value:,.0f} {platform.budget[name].unit} {name}" for name, value in cost.resources.items())
    energy = "no energy figure" if cost.energy is None else f"{cost.energy * 1e-6:.2f} µJ"
    output.say(
        f"on {platform.name}, {cost.sequence} tokens: {cost.cycles:,} cycles one GEMM after the other, "
        f"{cost.interval:,} between sequences; {used}; {energy}"
    )
