"""Calibration for integers: the largest magnitude of every value of the float model, and the exponents it gives.

Source: arithmetic.md, sections 1 and 2. Ranges are keyed by node name; the outputs of a node with several are
``name.0``, ``name.1``, ...; "input" are the features that a model takes.
"""

from collections.abc import Mapping
from math import ceil, log2
from typing import Any

import torch
from torch import Tensor, fx

from mxhw.errors import InputError, nearest
from mxhw.ir import Graph, NodeInfo
from mxhw.ir.describe import INFO, INPUT
from mxhw.progress import Progress, SilentProgress

__all__ = ["Ranges", "calibrate", "largest_of", "static_exponent"]

Ranges = Mapping[str, float]
_SMALLEST = 2.0**-30  # a stream that is always 0 gets the exponent of this


def calibrate(graph: Graph, windows: Tensor, progress: Progress | None = None) -> dict[str, float]:
    """Return the largest magnitudes that the float graph computes on ``windows``.

    Parameters
    ----------
    graph : Graph
        The float graph.
    windows : int64 [windows, tokens], or features whose first dimension is the batch
        Held-in text: never what a result is reported on. One runs at a time.

    Raises
    ------
    InputError
        If there is nothing to run, or a value is not finite.
    """
    if windows.dim() < 2 or windows.numel() == 0:
        raise InputError(f"calibration windows must be [windows, tokens], not {list(windows.shape)}")
    recorder = _Recorder(graph.module)
    rows = torch.split(windows, 1 if graph.signature.dynamic else graph.signature.batch)
    with torch.no_grad(), (progress or SilentProgress()).task("calibrate ranges", len(rows)) as task:
        for row in rows:
            graph.signature.check(row)
            recorder.run(row)
            task.advance()
    return recorder.ranges


def static_exponent(largest: float, bits: int, headroom: int = 1) -> int:
    """Return the exponent of a stream of ``bits``: magnitudes up to ``largest * 2**headroom`` fit."""
    return ceil(log2(max(largest, _SMALLEST))) + headroom - (bits - 1)


def largest_of(ranges: Ranges, key: str) -> float:
    """Return a range; InputError if calibration has not seen it."""
    if key not in ranges:
        raise InputError(f"ranges lack {key!r}{nearest(key, ranges)}; calibrate the graph that is lowered")
    return ranges[key]


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps the largest magnitude of every computed value."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.ranges: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        info = n.meta.get(INFO)
        if isinstance(info, NodeInfo):
            if isinstance(value, tuple | list):
                for index, each in enumerate(value):
                    self._record(f"{info.name}.{index}", each)
            else:
                self._record(info.name, value)
        elif n.op == "placeholder":
            self._record(INPUT, value)
        return value

    def _record(self, key: str, value: object) -> None:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.numel() == 0:
            return
        largest = float(value.detach().abs().amax())
        if not largest < float("inf"):
            raise InputError(f"node {key!r} gives a value that is not finite; the model or its input is broken")
        self.ranges[key] = max(self.ranges.get(key, 0.0), largest)
