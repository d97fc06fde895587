"""`mxhw emit`: Verilog, memory images and benches of a design's layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mxhw.cli.app import AssignmentOption, ExtensionOption, JsonOption, ModelArgument, OutOption, app
from mxhw.cli.console import Output

__all__ = ["emit"]


@app.command()
def emit(
    model: ModelArgument,
    out: OutOption = Path("build/emit"),
    assignment: AssignmentOption = None,
    node: Annotated[
        list[str] | None, typer.Option("--node", metavar="NAME", help="Emit this layer; may be repeated. Default: all.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of real text whose activations become the stimulus.")] = 32,
    text: Annotated[
        str, typer.Option(metavar="TEXT", help="A text file, a .npy file of token ids, or a text of the model.")
    ] = "heldout",
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Write the RTL of a design's linear layers, each with weights, real stimulus, expected outputs and a bench.

    Example: `mxhw emit demo --node model.layers.0.mlp.down_proj --out build/emit`, then `mxhw cosim build/emit`.
    """
    from mxhw.flow.assignments import assignment_for
    from mxhw.models import capture, load_model, read_ids, windows
    from mxhw.passes.emit import EmitLayers, EmitLayersConfig

    output = Output(as_json=json)
    loaded = load_model(model)
    window = windows(read_ids(text, loaded), tokens, 1)
    graph = capture(loaded, batch=1, sequence=tokens)
    given = assignment_for(graph, assignment)
    settings = EmitLayersConfig(assignment=given, tokens=window, folder=out / "rtl", nodes=node or None)
    report = EmitLayers(settings, output.progress)(graph).report
    given.save(out / "assignment.json")
    if not json:
        rows = [
            [
                entry["node"],
                entry["unit"],
                entry["weight_format"],
                entry["input_format"],
                f"{entry['rows']}×{entry['columns']}",
                f"{entry['cycles']:,}",
                entry["folder"],
            ]
            for entry in report["layers"]
        ]
        output.table("Emitted", ["layer", "unit", "weights", "inputs", "array", "cycles", "folder"], rows)
        output.say(f"next: mxhw cosim {out}")
    output.result({"layers": report["layers"], "assignment": str(out / "assignment.json")})
