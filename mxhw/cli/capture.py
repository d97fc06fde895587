"""`mxhw capture`: read a model into the graph that everything else works on."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from mxhw.cli.app import ConfigOnlyOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output
from mxhw.cli.graph_option import GraphOption

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
    graph_page: GraphOption = None,
    assignment: Annotated[
        Path | None, typer.Option("--assignment", metavar="FILE", help="An assignment.json, to show on that page.")
    ] = None,
    config_only: ConfigOnlyOption = False,
    json: JsonOption = False,
) -> None:
    """Capture a model and say what is in it: operations, multiply-accumulates, and how many have hardware.

    Example: `mxhw capture demo --sequence 512 --out build/graph`;
    at any size, without weights: `mxhw capture llama-3-70b/config.json --config-only --sequence 2048`
    """
    from mxhw.errors import InputError
    from mxhw.ir import Assignment
    from mxhw.ir.coverage import uncovered
    from mxhw.ir.symbolic import size_at
    from mxhw.models import capture as capture_model
    from mxhw.models import load_model, load_skeleton
    from mxhw.report.graph_page import write_graph_page

    if assignment is not None and graph_page is None:
        raise InputError("--assignment is for the page of --graph FILE, which is not given")
    given = None if assignment is None else Assignment.load(assignment)
    output = Output(as_json=json)
    with output.progress.task("capture", 1) as task:
        start = time.perf_counter()
        loaded = load_skeleton(model) if config_only else load_model(model)
        sequence = sequence or loaded.at_most_context(128)
        graph = capture_model(loaded, batch=batch, sequence=sequence)
        seconds = time.perf_counter() - start
        task.advance()
    count: Counter[str] = Counter()
    macs: Counter[str] = Counter()
    for info in graph.nodes.values():
        count[info.op] += 1
        macs[info.op] += size_at(info.macs, batch, sequence)
    total = sum(macs.values())
    bare = uncovered(graph, batch, sequence)
    in_gemms = sum(gemm.gemm(batch, sequence).macs for gemm in graph.gemms)
    if out is not None:
        graph.save(out)
    if graph_page is not None:
        write_graph_page(graph, graph_page, batch=batch, sequence=sequence, assignment=given)
    if not json:
        rows = [[op, f"{count[op]}", f"{macs[op]:,}", f"{100 * macs[op] / max(total, 1):.2f}"] for op in count]
        title = f"{model}: {len(graph.nodes)} operations, {total:,} MACs at batch {batch}, {sequence} tokens"
        output.table(title, ["operation", "nodes", "MACs", "% of MACs"], rows)
        layers = sum(len(members) for members in graph.blocks.values())
        output.say(
            f"{graph.parameters:,} parameters{' (not loaded)' if config_only else ''}; {layers} layers, "
            f"{len(graph.blocks)} unique; captured in {seconds:.1f} s."
        )
        output.say(
            f"{len(graph.gemms)} matrix products can have hardware: {100 * in_gemms / max(total, 1):.2f} % of the MACs."
        )
        if bare.nodes:
            operators = ", ".join(f"{name} ({number})" for name, number in bare.operators.items())
            output.say(
                f"{len(bare.nodes)} operations are not in the dialect and run as float operators: "
                f"{100 * bare.mac_share:.2f} % of the MACs, {100 * bare.byte_share:.2f} % of the bytes written; "
                f"{operators}."
            )
        if out is not None:
            output.say(f"saved: {out}")
        if graph_page is not None:
            output.say(f"graph: {graph_page}")
    output.result(
        {
            "model": model,
            "nodes": len(graph.nodes),
            "parameters": graph.parameters,
            "has_weights": graph.has_weights,
            "blocks": {str(number): members for number, members in graph.blocks.items()},
            "seconds": seconds,
            "macs": total,
            "macs_with_hardware": in_gemms,
            "uncovered": bare.to_json(),
            "operations": [{"op": op, "nodes": count[op], "macs": macs[op]} for op in count],
            "sites": len(graph.sites),
            "saved": None if out is None else str(out),
            "graph_page": None if graph_page is None else str(graph_page),
        }
    )
