"""The C kernels of `fake_quantize`: one library for AVX-512, one for AVX2, one for any processor, all optional.

They are compiled when the package is installed. The best one that this processor runs is used; without any, formats run
on torch, with the same bits, and say once how much slower that is. `MXHW_KERNELS` (avx512, avx2, baseline or torch)
or :func:`use` chooses another.

A kernel is an exported C function (`kernels.h`: `mxhw_kernel`) with a ctypes structure of parameters; a format that has
one returns both from `Format._kernel`. Tables and constants come from the format, so that they exist once.
"""

import ctypes
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mxhw.errors import InputError, MxhwWarning, nearest

__all__ = [
    "MULTIPLIER_SCALE",
    "POWER_SCALE",
    "SETS",
    "Kernel",
    "Layout",
    "active",
    "available",
    "extremes",
    "run",
    "serves",
    "use",
]

SETS = ("avx512", "avx2", "baseline")
# How a scale is stored, beside the float types of kernels.h: as a power of two, as a multiple of the row's.
POWER_SCALE, MULTIPLIER_SCALE = 3, 4
_TORCH = "torch"
_VARIABLE = "MXHW_KERNELS"
_FOLDER = Path(__file__).parent
_DTYPES = {torch.float32: 0, torch.bfloat16: 1}
# From here on a second thread gains more than starting it costs.
_THREADED_BYTES = 1 << 20
# Elements of a block where blocks mean nothing.
_RUN = 1024


@dataclass(frozen=True)
class Kernel:
    """A C function and what it needs to know.

    ``prepare``: the C function that looks at a whole row first, where its blocks share something or are one long block.
    ``splits``: the kernel takes a row of one block in parts. ``elementwise``: rows and blocks mean nothing, because
    every element is rounded by itself.
    """

    function: str
    params: ctypes.Structure
    prepare: str | None = None
    splits: bool = False
    elementwise: bool = False


class _Tensor(ctypes.Structure):
    """`mxhw_tensor` of walk.c."""

    _fields_ = (
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("outer", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("inner", ctypes.c_int64),
        ("block", ctypes.c_int64),
        ("tile_rows", ctypes.c_int64),
        ("neighbours", ctypes.c_int64),
        ("dtype", ctypes.c_int32),
        ("splits", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


class _Library:
    """A loaded library: its functions by name, as addresses."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self.walk = self._library.mxhw_walk
        self.walk.argtypes = (ctypes.c_void_p,) * 4
        self.extremes = self._library.mxhw_extremes
        self.extremes.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_int32) + (
            ctypes.c_void_p,
        ) * 2
        self.supported = bool(self._library.mxhw_supported())
        self._addresses: dict[str, int] = {}

    def address(self, function: str | None) -> int | None:
        """Where a function is; None for None."""
        if function is None:
            return None
        if function not in self._addresses:
            pointer = ctypes.cast(getattr(self._library, function), ctypes.c_void_p)
            self._addresses[function] = pointer.value or 0
        return self._addresses[function]


@cache
def _load(name: str) -> _Library | None:
    """The library of that instruction set, or None if it was not built or this processor does not run it."""
    for suffix in EXTENSION_SUFFIXES:
        path = _FOLDER / f"_{name}{suffix}"
        if path.exists():
            try:
                library = _Library(path)
            except (OSError, AttributeError):  # built for another system, or by another version
                return None
            return library if library.supported else None
    return None


@cache
def available() -> tuple[str, ...]:
    """The instruction sets that there are kernels for and this processor has, best first."""
    return tuple(name for name in SETS if _load(name) is not None)


def active() -> str:
    """What formats run on: one of :func:`available`, or "torch"."""
    return _chosen[-1] if _chosen else _default()


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run formats on the kernels of one of :func:`available`, or on "torch", within a `with` block.

    Raises
    ------
    InputError
        If there are no such kernels here.
    """
    _chosen.append(_checked(name, "kernels"))
    try:
        yield
    finally:
        _chosen.pop()


_chosen: list[str] = []


@cache
def _default() -> str:
    wanted = os.environ.get(_VARIABLE)
    if wanted:
        return _checked(wanted, _VARIABLE)
    if available():
        return available()[0]
    warnings.warn(
        "mxhw's C kernels are not built, so number formats run on torch: same bits, about 3 to 20 times slower; "
        "install mxhw again where there is a C compiler",
        MxhwWarning,
        stacklevel=2,
    )
    return _TORCH


def _checked(name: str, what: str) -> str:
    allowed = (*available(), _TORCH)
    if name not in allowed:
        raise InputError(f"{what}: must be {' or '.join(allowed)} here, not {name!r}{nearest(name, allowed)}")
    return name


def _library() -> _Library | None:
    name = active()
    return None if name == _TORCH else _load(name)


def serves(x: Tensor) -> bool:
    """Whether kernels may run on tensors like ``x``: float32 or bfloat16 in main memory."""
    return x.dtype in _DTYPES and x.device.type == "cpu" and active() != _TORCH


class Layout(NamedTuple):
    """A contiguous tensor seen as [outer, length, inner], in blocks along ``length``.

    With ``tile_rows`` above 1 blocks are tiles of so many of the ``neighbours`` vectors: the tensor is
    [outer, neighbours, length], with ``inner`` 1, or [outer, length, neighbours], with ``inner`` = ``neighbours``.
    """

    outer: int
    length: int
    inner: int
    block: int
    tile_rows: int = 1
    neighbours: int = 1


def run(kernel: Kernel, x: Tensor, out: Tensor, layout: Layout) -> None:
    """Quantize ``x`` into ``out``, which are contiguous and of one dtype that :func:`serves` allows.

    They are the same memory or do not overlap.

    Raises
    ------
    MemoryError
        If there is no memory for one row; ``out`` is not complete then.
    """
    library = _library()
    assert library is not None
    if kernel.elementwise:
        layout = Layout(1, x.numel(), 1, _RUN)
    tensor = _Tensor(x.data_ptr(), out.data_ptr(), *layout, _DTYPES[x.dtype], kernel.splits, _threads(x))
    function, prepare = library.address(kernel.function), library.address(kernel.prepare)
    if library.walk(ctypes.addressof(tensor), function, prepare, ctypes.addressof(kernel.params)):
        raise MemoryError(f"no memory for the buffers of a row of {layout.length} elements")


def extremes(x: Tensor) -> tuple[float, float]:
    """The lowest and the highest of the values of contiguous ``x`` and zero; NaN and Inf show in one of them."""
    library = _library()
    assert library is not None
    low, high = ctypes.c_float(), ctypes.c_float()
    library.extremes(x.data_ptr(), x.numel(), _DTYPES[x.dtype], _threads(x), ctypes.byref(low), ctypes.byref(high))
    return low.value, high.value


def _threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() * x.element_size() > _THREADED_BYTES else 1
