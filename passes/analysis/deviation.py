"""How far one tensor is from another: the ratio of signal to quantization noise, and the largest difference."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, log10
from typing import Any

import torch
from torch import Tensor

__all__ = ["Deviation", "DeviationSums"]

_CHUNK = 1 << 18  # elements that are converted to float64 at a time


@dataclass(frozen=True)
class Deviation:
    """How far an output y is from its reference x, over all windows.

    Attributes
    ----------
    sqnr : float
        Signal-to-quantization-noise ratio [dB], 10 log10(sum x^2 / sum (x - y)^2), sums in float64 (B. Widrow and
        I. Kollár, Quantization Noise, 2008; `torch.ao.ns.fx.utils.compute_sqnr` computes the same in float32).
        inf if y equals x, -inf if x is all zero and y is not, or if y is not finite where x is.
    largest : float
        The largest |x - y|; inf where one of them is not finite and the other differs.
    """

    sqnr: float
    largest: float

    @property
    def exact(self) -> bool:
        """Whether all outputs are equal."""
        return self.largest == 0

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; numbers that are not finite are null, so look at "exact" first."""
        return {
            "exact": self.exact,
            "sqnr_db": self.sqnr if isfinite(self.sqnr) else None,
            "max_error": self.largest if isfinite(self.largest) else None,
        }


class DeviationSums:
    """Signal of one node, and noise and largest error of its two versions (local, accumulated), so far."""

    def __init__(self) -> None:
        self.signal = 0.0
        self.noise = [0.0, 0.0]
        self.largest = [0.0, 0.0]

    def add(self, x: Any, *versions: Any) -> None:
        """Add the floating-point outputs `x` of the reference and its versions, all of one shape or tuples of such."""
        if isinstance(x, tuple | list):
            for each in zip(x, *versions, strict=True):
                self.add(*each)
        elif isinstance(x, Tensor) and x.is_floating_point():
            flat = (value.reshape(-1).split(_CHUNK) for value in (x, *versions))
            for chunk, *others in zip(*flat, strict=True):
                self._add_chunk(chunk, others)

    def _add_chunk(self, chunk: Tensor, others: list[Tensor]) -> None:
        x = chunk.to(torch.float64)
        signal = float(x.dot(x))
        self.signal += signal if isfinite(signal) else float(torch.where(x.isfinite(), x, 0.0).square().sum())
        for version, other in enumerate(others):
            if torch.equal(chunk, other):
                continue
            error = x - other
            noise = float(error.dot(error))
            if not isfinite(noise):  # equal infinities (a masked score) are no error; a NaN is an infinite one
                error = torch.where(x == other, 0.0, error.abs()).nan_to_num(nan=inf, posinf=inf)
                noise = float(error.square().sum())
            self.noise[version] += noise
            self.largest[version] = max(self.largest[version], float(error.abs().max()))

    def error(self, version: int) -> Deviation:
        """Return the error of a version over everything added."""
        noise, largest = self.noise[version], self.largest[version]
        if noise == 0:  # of errors below 1e-162 too, whose squares are zero
            return Deviation(inf, largest)
        if self.signal == 0 or noise == inf:
            return Deviation(-inf, largest)
        return Deviation(10 * (log10(self.signal) - log10(noise)), largest)
