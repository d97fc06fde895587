"""Running statistics of a tensor stream: exact moments, and a histogram of magnitudes for percentiles.

The histogram has one bin per upper half of a float32 bit pattern (8 bits of exponent, 7 of mantissa), so a percentile
is read to within 2**-7 of itself, whatever the scale of the data, and merging needs no second pass.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["PERCENTILE", "RunningStatistics"]

PERCENTILE = 0.999
_BINS = 1 << 15  # sign dropped, 8 exponent and 7 mantissa bits
_SHIFT = 16


@dataclass
class RunningStatistics:
    """Moments and magnitudes of everything that was added."""

    count: int = 0
    amax: float = 0.0
    sums: Tensor = field(default_factory=lambda: torch.zeros(4, dtype=torch.float64))
    bins: Tensor = field(default_factory=lambda: torch.zeros(_BINS, dtype=torch.int64))

    def add(self, x: Tensor) -> None:
        """Include the elements of a finite floating-point tensor of any shape."""
        flat = x.detach().reshape(-1).to(torch.float32)
        if flat.numel() == 0:
            return
        wide = flat.to(torch.float64)
        square = wide * wide
        self.count += flat.numel()
        self.amax = max(self.amax, float(flat.abs().max()))
        self.sums += torch.stack([wide.sum(), square.sum(), (square * wide).sum(), (square * square).sum()])
        patterns = flat.abs().contiguous().view(torch.int32) >> _SHIFT
        self.bins += torch.bincount(patterns.clamp_(max=_BINS - 1), minlength=_BINS)

    def percentile(self, share: float = PERCENTILE) -> float:
        """Return the magnitude that `share` of the elements do not exceed (the upper edge of its bin, at most amax)."""
        if self.count == 0:
            return 0.0
        rank = int(torch.searchsorted(self.bins.cumsum(0), torch.tensor(share * self.count, dtype=torch.float64)))
        edge = torch.tensor((min(rank, _BINS - 1) << _SHIFT) | ((1 << _SHIFT) - 1), dtype=torch.int32)
        return min(float(edge.view(torch.float32)), self.amax)

    def summary(self) -> dict[str, float]:
        """Return count, amax, mean, rms, kurtosis (normal: 3), p99_9, outlier_ratio (amax / p99_9)."""
        if self.count == 0:
            return {"count": 0.0}
        m1, m2, m3, m4 = (self.sums / self.count).tolist()
        variance = m2 - m1 * m1
        fourth = m4 - 4 * m1 * m3 + 6 * m1 * m1 * m2 - 3 * m1**4
        p99_9 = self.percentile()
        return {
            "count": float(self.count),
            "amax": self.amax,
            "mean": m1,
            "rms": m2**0.5,
            "kurtosis": fourth / variance**2 if variance > 0 else 0.0,
            "p99_9": p99_9,
            "outlier_ratio": self.amax / p99_9 if p99_9 > 0 else 1.0,
        }
