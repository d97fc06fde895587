"""The C kernel of formats whose blocks have one free scale: integers and FP8."""

import ctypes
from math import isfinite, nan

import torch
from torch import Tensor

from mxhw.formats import kernels

__all__ = ["ScaledKernelParams"]

_FLOAT_MAX = torch.finfo(torch.float32).max


class ScaledKernelParams(ctypes.Structure):
    """`scaled_params` of kernels/scaled.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("scale", "shift", "asymmetric", "is_given")),
        *((name, ctypes.c_float) for name in ("least", "most")),
        *((name, ctypes.c_int32) for name in ("mantissa", "smallest")),
        *((name, ctypes.c_float) for name in ("largest", "low", "span")),
    )

    def for_blocks(self, group: int | None) -> kernels.Kernel:
        """The kernel for groups of ``group``, or for whole vectors (None)."""
        by_multiplier = self.scale == kernels.MULTIPLIER_SCALE
        prepare = "mxhw_scaled_row" if by_multiplier or group is None else None
        return kernels.Kernel("mxhw_scaled", self, prepare, splits=group is None and not by_multiplier)

    def for_tensor(self, x: Tensor) -> kernels.Kernel:
        """The kernel with one scale for all of contiguous ``x``."""
        params = ScaledKernelParams.from_buffer_copy(self)
        low, high = kernels.extremes(x)
        params.is_given, params.low, params.span = True, low, max(-low, high)
        if params.asymmetric:
            params.span = min(float(torch.tensor(high) - torch.tensor(low)), _FLOAT_MAX)
        if not (isfinite(low) and isfinite(high)):
            params.span = nan
        return kernels.Kernel("mxhw_scaled", params, elementwise=True)
