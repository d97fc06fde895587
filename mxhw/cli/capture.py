"""`mxhw capture`: read a model into the graph that everything else works on."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from mxhw.cli.app import JsonOption, ModelArgument, app
from mxhw.cli.console import Output

__all__ = ["capture"]


@app.command()
def capture(
    model: ModelArgument,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Save the graph (graph.json, weights.safetensors).")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Batch that the figures are for.")] = 1,
    sequence: Annotated[
        int | None, typer.Option(min=2, help="Tokens that the figures are for; default: 128, or the model's context.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Capture a model and say what is in it: operations, multiply-accumulates, and how many have hardware.

    Example: `mxhw capture demo --sequence 512 --out build/graph`
    """
    from mxhw.ir.symbolic import size_at
    from mxhw.models import capture as capture_model
    from mxhw.models import load_model

    output = Output(as_json=json)
    with output.progress.task("capture", 1) as task:
        loaded = load_model(model)
        sequence = sequence or loaded.at_most_context(128)
        graph = capture_model(loaded, batch=batch, sequence=sequence)
        task.advance()
    count: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for info in graph.nodes.values():
        count[info.op] += 1
        macs[info.op] += size_at(info.macs, batch, sequence)
    total = sum(macs.values())
    in_gemms = sum(gemm.gemm(batch, sequence).macs for gemm in graph.gemms)
    if out is not None:
        graph.save(out)
    if not json:
        rows = [[op, f"{count[op]}", f"{macs[op]:,}", f"{100 * macs[op] / max(total, 1):.2f}"] for op in count]
        title = f"{model}: {len(graph.nodes)} operations, {total:,} MACs at batch {batch}, {sequence} tokens"
        output.table(title, ["operation", "nodes", "MACs", "% of MACs"], rows)
        output.say(
            f"{len(graph.gemms)} matrix products can have hardware: {100 * in_gemms / max(total, 1):.2f} % of the MACs."
        )
        if out is not None:
            output.say(f"saved: {out}")
    output.result(
        {
            "model": model,
            "nodes": len(graph.nodes),
            "macs": total,
            "macs_with_hardware": in_gemms,
            "operations": [{"op": op, "nodes": count[op], "macs": macs[op]} for op in count],
            "sites": len(graph.sites),
            "saved": None if out is None else str(out),
        }
    )
