"""`mxhw evaluate`: how good a quantized model is."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mxhw.cli.app import AssignmentOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output

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
    json: JsonOption = False,
) -> None:
    """Score perplexity, KL divergence and top-1 agreement with the float model, and count true bits.

    Example: `mxhw evaluate demo --assignment build/demo/assignment.json --arithmetic both`
    """
    from mxhw.flow.assignments import assignment_for
    from mxhw.models import capture, load_model, read_ids
    from mxhw.models import windows as cut_windows
    from mxhw.passes.analysis import QualityEvaluator, ledger
    from mxhw.passes.transform import Quantize, QuantizeConfig

    output = Output(as_json=json)
    loaded = load_model(model)
    context = context or loaded.at_most_context(512)
    cut = cut_windows(read_ids(text, loaded), context, windows)
    graph = capture(loaded, batch=1, sequence=context)
    given = assignment_for(graph, assignment)
    bits = ledger(graph, given, sequence=context)
    byte_model = graph.signature.vocabulary == 256
    evaluator = QualityEvaluator(
        graph, cut, bytes_per_token=1.0 if byte_model else None, batch=1, progress=output.progress
    )
    scores = {"float model": evaluator(graph, progress=True)}
    coverage = None
    for mode in ("float", "hardware"):
        if arithmetic not in (mode, "both"):
            continue
        result = Quantize(QuantizeConfig(assignment=given, arithmetic=mode))(graph)
        coverage = result.report.get("mac_coverage", coverage)
        scores["float emulation" if mode == "float" else "hardware arithmetic"] = evaluator(result.graph, progress=True)
    base = scores["float model"].perplexity
    if not json:
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
        columns = ["", "perplexity", "to float", "bits a byte", "KL, nats a token", "top-1 agreement"]
        output.table(f"{model}: {scores['float model'].tokens:,} predictions of {text}", columns, rows)
        attention = bits.bits_per_attention_operand
        output.say(
            f"true bits: {bits.bits_per_weight:.4f} a weight, {bits.bits_per_input:.4f} an input element"
            + ("" if attention is None else f", {attention:.4f} an attention operand")
        )
        if coverage is not None:
            output.say(f"in hardware arithmetic: {100 * coverage:.2f} % of the multiply-accumulates")
    output.result(
        {
            "model": model,
            "text": text,
            "scores": {name: score.to_json() for name, score in scores.items()},
            "bits": bits.to_json(),
            "hardware_mac_coverage": coverage,
        }
    )
