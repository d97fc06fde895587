"""`mxhw export`: a quantized checkpoint for other software."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mxhw.cli.app import AssignmentOption, ExtensionOption, JsonOption, ModelArgument, OutOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.models.export import ExportReport

__all__ = ["export"]

_TRACED = 16  # tokens of the capture, which only has to know the layers


@app.command()
def export(
    model: ModelArgument,
    out: OutOption = Path("build/export"),
    assignment: AssignmentOption = None,
    to: Annotated[
        Literal["compressed-tensors", "native"],
        typer.Option(help="For readers of compressed-tensors (transformers, vLLM), or packed bytes of any format."),
    ] = "compressed-tensors",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="Of the model; auto: float32, or bfloat16 where compressed-tensors decodes a format to it."),
    ] = "auto",
    nearest: Annotated[
        bool,
        typer.Option("--nearest", help="Let NVFP4 through where compressed-tensors reads it a step of bfloat16 off."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Write a checkpoint with quantized weights; `AutoModelForCausalLM.from_pretrained` reads it back bit for bit.

    A native checkpoint holds every format; it needs `import mxhw` where it is loaded.

    Example: `mxhw export demo --assignment build/demo/assignment.json --to native --out build/export`
    """
    import torch

    from mxhw.flow.assignments import assignment_for
    from mxhw.models import capture, load_model
    from mxhw.models.export import export_checkpoint

    output = Output(as_json=json)
    loaded = load_model(model)
    graph = capture(loaded, batch=1, sequence=loaded.at_most_context(_TRACED))
    given = assignment_for(graph, assignment)
    report = export_checkpoint(
        loaded,
        graph,
        given,
        out,
        to=to,
        dtype=None if dtype == "auto" else getattr(torch, dtype),
        nearest=nearest,
        force=force,
        progress=output.progress,
    )
    if not json:
        _show(output, model, report)
    output.result({"model": model, **report.to_json()})


def _show(output: Output, model: str, report: ExportReport) -> None:
    rows = [[name, f"{count}"] for name, count in Counter(report.weights.values()).items()]
    output.table("Exported", ["weights", "layers"], rows)
    output.say(
        f"{model} as a {report.to} checkpoint, a {report.dtype} model: {report.quantized_bytes:,} bytes of quantized "
        f"weights, {report.all_bytes:,} in all: {report.folder}"
    )
    if report.untied:
        output.say(f"{report.untied} was tied to the embedding, which is not rounded: it is a weight of its own now")
    for name, count in report.off_by_a_step.items():
        output.say(f"{name}: {count:,} values are read one step of bfloat16 off")
    for name, count in report.inputs.items():
        how = f"about {name[1:]}: the reader has a rule of its own for the scale" if name[0] == "~" else name
        output.say(f"inputs of {count} layers: {how}")
    if report.left_out:
        kept = ", ".join(f"{name} ({count} operands)" for name, count in report.left_out.items())
        output.say(f"not in the checkpoint, which leaves these operands in floating point: {kept}")
    before = "import mxhw; " if report.to == "native" else ""
    output.say(f'load: {before}AutoModelForCausalLM.from_pretrained("{report.folder}", attn_implementation="eager")')
