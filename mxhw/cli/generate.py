"""`mxhw generate`: what a model writes, in floating point or quantized."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from mxhw.cli.app import ExtensionOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.ir import DecodeGraph

__all__ = ["generate"]


@app.command()
def generate(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What the model continues.")],
    tokens: Annotated[int, typer.Option(min=1, help="The most tokens to generate; an end token stops earlier.")] = 64,
    assignment: Annotated[
        Path | None,
        typer.Option("--assignment", metavar="FILE", help="An assignment.json; default: the float model."),
    ] = None,
    arithmetic: Annotated[
        Literal["float", "hardware", "integer"],
        typer.Option(
            help="With an assignment: round operands and multiply in float, or exactly as the RTL does; or compute the "
            "whole model in integers, as an emitted language model does: the same tokens as `mxhw talk`, default "
            "assignment included."
        ),
    ] = "float",
    calibration: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Text that integer streams get their exponents from; default: the model's."),
    ] = None,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Continue a text greedily, token by token with a KV cache, which the assignment may quantize too.

    Example: `mxhw generate demo --prompt "The river" --tokens 100 --assignment build/demo/assignment.json`
    """
    import torch

    from mxhw.errors import InputError
    from mxhw.ir import Assignment
    from mxhw.models import capture_decoder, load_model

    output = Output(as_json=json)
    given = None if assignment is None else Assignment.load(assignment)
    if calibration is not None and arithmetic != "integer":
        raise InputError("--calibration is for --arithmetic integer")
    loaded = load_model(model)
    ids = loaded.encode(prompt.encode())[None]
    if not prompt or ids.numel() == 0:
        raise InputError("prompt is empty; give at least one token, for instance --prompt 'The'")
    bits: dict[str, Any] | None = None
    if arithmetic == "integer":
        from mxhw.flow.language import integer_stream

        stream, given = integer_stream(loaded, given, ids[0], tokens, calibration)
    else:
        graph = capture_decoder(loaded)
        if given is not None:
            from mxhw.passes.analysis import ledger
            from mxhw.passes.transform import Quantize, QuantizeConfig

            bits = ledger(graph, given, sequence=ids.shape[1] + tokens).to_json()
            settings = QuantizeConfig(assignment=given, arithmetic=arithmetic)
            graph = cast("DecodeGraph", Quantize(settings)(graph).graph)
        stream = graph.stream(ids, tokens, loaded.end_tokens)
    found = ids[0]
    with output.progress.task("generate", tokens) as task:
        for following in stream:
            found = torch.cat([found, following])
            task.advance()
    text = _text(loaded.decode(ids[0]), loaded.decode(found), loaded.decode(found[ids.shape[1] :]))
    if not json:
        output.say(prompt + text)
    output.result(
        {
            "model": model,
            "assignment": None if assignment is None else str(assignment),
            "arithmetic": None if given is None else arithmetic,
            "prompt": prompt,
            "text": text,
            "prompt_tokens": ids.shape[1],
            "tokens": found[ids.shape[1] :].tolist(),
            "bits": bits,
        }
    )


def _text(before: bytes, whole: bytes, new: bytes) -> str:
    """Return the continuation; in the text of all tokens, where possible, for a word may go on across the border."""
    return (whole.removeprefix(before) if whole.startswith(before) else new).decode("utf-8", "replace")
