"""Quantized weights are made once: a cache by the weight tensor and the format, shared by all trials of a search."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from mxhw.arithmetic import HardwareGemm
from mxhw.formats import Format

__all__ = ["WeightCache"]

_Value = TypeVar("_Value")
_Key = tuple[object, ...]


@dataclass
class WeightCache:
    """Fake-quantized weights and encoded hardware weights.

    A key holds the identity of a tensor's storage and its version counter, and the tensor is kept alive beside the
    result, so an entry can neither outlive nor miss a change of its weight.

    Attributes
    ----------
    hits, misses : int
        Requests answered from the cache, and those that computed.
    """

    hits: int = 0
    misses: int = 0
    _entries: dict[_Key, tuple[Tensor, object]] = field(default_factory=dict)

    def fake_quantized(self, weight: Tensor, fmt: Format, axis: int) -> Tensor:
        """Return `weight` rounded to `fmt` along `axis`: same shape and dtype."""
        return self._get(("fake", fmt.name, axis), weight, lambda: fmt.fake_quantize(weight.detach(), axis=axis))

    def hardware(self, weight: Tensor, x_format: Format, w_format: Format) -> HardwareGemm:
        """Return the exact GEMM of inputs in `x_format` with `weight` [N, K] in `w_format`."""
        return self._get(
            ("hardware", x_format.name, w_format.name), weight, lambda: HardwareGemm(weight, x_format, w_format)
        )

    def _get(self, purpose: _Key, weight: Tensor, build: Callable[[], _Value]) -> _Value:
        key = (*purpose, weight.data_ptr(), weight._version, tuple(weight.shape), weight.stride(), weight.dtype)
        if key in self._entries:
            self.hits += 1
        else:
            self.misses += 1
            self._entries[key] = (weight, build())
        return self._entries[key][1]  # type: ignore[return-value]
