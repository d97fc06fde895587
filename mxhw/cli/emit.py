"""`mxhw emit`: the RTL of a decoder block, of a whole small model, or of single layers, each with its bench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mxhw.cli.app import AssignmentOption, ExtensionOption, JsonOption, ModelArgument, OutOption, app
from mxhw.cli.console import Output
from mxhw.errors import InputError

if TYPE_CHECKING:
    from mxhw.flow.blocks import EmittedPart

__all__ = ["emit"]

_TEXTS = "A text file, a .npy file of token ids, or a text of the model."


@app.command()
def emit(
    model: ModelArgument,
    out: OutOption = Path("build/emit"),
    assignment: AssignmentOption = None,
    block: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The part that becomes a design: a block such as model.layers.0, or `all`. Default: the first block, "
            "or all of a model without blocks.",
        ),
    ] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Balance the design under the budget of this platform (`mxhw platforms`). Default: small units.",
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Tokens at once, instead of what the assignment says of linear layers.")
    ] = None,
    keys: Annotated[
        int | None,
        typer.Option(min=1, help="Longest sequence that the KV caches hold. Default: --tokens; 256 with --lm."),
    ] = None,
    tokens: Annotated[
        int, typer.Option(min=2, help="Tokens of real text that become the stimulus; with --lm those that are written.")
    ] = 32,
    text: Annotated[str, typer.Option(metavar="TEXT", help=f"The stimulus. {_TEXTS}")] = "heldout",
    calibration: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help=f"Text that the exponents of streams are chosen on. {_TEXTS} Default: the model's calibration text; "
            "the stimulus where it came with none.",
        ),
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", metavar="NAME", help="Emit this linear layer alone instead; may be repeated."),
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Emit every linear layer alone instead.")] = False,
    lm: Annotated[
        bool,
        typer.Option(
            "--lm",
            help="Emit the whole language model: tokens in, logits and tokens out, KV caches inside; all layers share "
            "one block. `mxhw talk` lets it answer.",
        ),
    ] = False,
    unfolded: Annotated[
        bool, typer.Option("--unfolded", help="With --lm: every layer has hardware of its own.")
    ] = False,
    sequences: Annotated[
        int | None, typer.Option(min=1, help="With --lm: texts that are written together. Default: 2.")
    ] = None,
    chunk: Annotated[
        int | None,
        typer.Option(min=1, help="With --lm: tokens of prompts that pass a layer together. Default: 16."),
    ] = None,
    weight_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="BITS",
            help="With --lm: weights of the layers come through a port of so many bits, into memories of two layers. "
            "Default: memories hold all. Embedding, head and the constants of channels stay in memories.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="With --lm: what a text of the proof begins with; may be repeated. Default: from the model's text.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a design of another configuration.")] = False,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Write the RTL of a decoder block with weights, real stimulus, the expected beats of every step, and a bench.

    Every operator becomes a component, streams connect them, FIFO depths are computed. Beside the Verilog: AXI-Stream
    and AXI-Lite top, constraints, FuseSoC and EDAM descriptions, project files for Vivado and yosys.

    Example: `mxhw emit demo --out build/emit`, then `mxhw cosim build/emit`.
    """
    output = Output(as_json=json)
    if lm:
        other = None if text == "heldout" else text
        given = {"--block": block, "--rows": rows, "--node": node or None, "--layers": layers or None, "--text": other}
        _refuse(given, "--lm emits the whole model, token by token")
        from mxhw.flow.language import LanguageRequest, LanguageSettings, emit_language_model

        sizes = {"keys": keys, "sequences": sequences, "chunk": chunk}
        settings = LanguageSettings(
            tokens=tokens,
            fold=not unfolded,
            weight_port=weight_port,
            force=force,
            **{name: n for name, n in sizes.items() if n is not None},
        )
        asked = LanguageRequest(
            model=model,
            assignment=assignment,
            platform=platform,
            prompts=tuple(prompt or ()),
            calibration=calibration,
            settings=settings,
        )
        made = emit_language_model(asked, out, output.progress)
        if not json:
            _show(output, made, out, talks=True)
        output.result(made.to_json())
        return
    alone = {"--unfolded": unfolded or None, "--sequences": sequences, "--chunk": chunk, "--prompt": prompt or None}
    alone["--weight-port"] = weight_port
    _refuse(alone, "these belong to a language model; add --lm")
    if node or layers:
        if block is not None or platform is not None or rows is not None or keys is not None or (node and layers):
            raise InputError(
                "--node and --layers emit layers alone: give one of them, without --block, --platform, "
                "--rows and --keys"
            )
        _emit_layers(output, model, out, assignment, node, tokens, text, as_json=json)
        return
    from mxhw.flow.blocks import PartRequest, emit_from_model

    request = PartRequest(
        model=model,
        assignment=assignment,
        part=block,
        platform=platform,
        rows=rows,
        keys=keys,
        tokens=tokens,
        text=text,
        calibration=calibration,
        force=force,
    )
    made = emit_from_model(request, out, output.progress)
    if not json:
        _show(output, made, out)
    output.result(made.to_json())


def _refuse(given: Mapping[str, object], why: str) -> None:
    """Raise InputError if options were given that do not belong here."""
    if names := [name for name, value in given.items() if value is not None]:
        raise InputError(f"{', '.join(names)} cannot be used here: {why}")


def _show(output: Output, made: EmittedPart, out: Path, *, talks: bool = False) -> None:
    design = made.emitted.design
    columns = ["node", "component", "parallelism", "cycles a token", "FIFO", *made.resource_names]
    output.table(f"{design.name}: {made.part}", columns, made.rows())
    output.say(made.summary())
    if made.note:
        output.say(made.note)
    output.say(f"next: mxhw cosim {out}" + (f", mxhw talk {out} --prompt …" if talks else ""))


def _emit_layers(
    output: Output,
    model: str,
    out: Path,
    assignment: Path | None,
    nodes: list[str] | None,
    tokens: int,
    text: str,
    *,
    as_json: bool,
) -> None:
    from mxhw.flow.assignments import assignment_for
    from mxhw.models import capture, load_model, read_ids, windows
    from mxhw.passes.emit import EmitLayers, EmitLayersConfig

    loaded = load_model(model)
    window = windows(read_ids(text, loaded), tokens, 1)
    graph = capture(loaded, batch=1, sequence=tokens)
    given = assignment_for(graph, assignment)
    settings = EmitLayersConfig(assignment=given, tokens=window, folder=out / "rtl", nodes=nodes or None)
    report = EmitLayers(settings, output.progress)(graph).report
    given.save(out / "assignment.json")
    if not as_json:
        columns = ["layer", "unit", "weights", "inputs", "array", "cycles", "folder"]
        output.table("Emitted", columns, [_layer_row(entry) for entry in report["layers"]])
        output.say(f"next: mxhw cosim {out}")
    output.result({"layers": report["layers"], "assignment": str(out / "assignment.json")})


def _layer_row(entry: dict[str, Any]) -> list[str]:
    array = f"{entry['rows']}×{entry['columns']}"
    names = [entry[key] for key in ("node", "unit", "weight_format", "input_format")]
    return [*names, array, f"{entry['cycles']:,}", entry["folder"]]
