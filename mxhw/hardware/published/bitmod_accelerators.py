"""The five accelerators that the BitMoD paper compares, and the constants of their cost.

Arrays and bits are those of the authors' simulator (github.com/yc2367/BitMoD and
github.com/abdelfattah-lab/BitMoD-HPCA-25, `test_*.py` and `accelerator.py` of `sim/`; MIT licence); energies and
bandwidth are those of the platform "bitmod-28nm".

One kind of constant is in neither the paper nor its code: what a buffer's access costs, for which the authors run CACTI
(:data:`BUFFER_COSTS`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from mxhw.errors import InputError
from mxhw.hardware.platform import AsicPlatform, OffChipMemory, load_platform
from mxhw.hardware.published.models import ModelShape

__all__ = [
    "ACCELERATORS",
    "ANT",
    "BUFFER_BYTES",
    "BUFFER_COSTS",
    "BUS_BYTES",
    "DRAM_ENERGY",
    "FP16",
    "INPUT_BITS",
    "LAYOUT_FACTOR",
    "LOSSLESS",
    "LOSSY",
    "OLIVE",
    "WRITE_BITS",
    "Accelerator",
    "Array",
    "buffer_cost",
]

INPUT_BITS = 16  # of activations and results
BUFFER_BYTES = 512 * 1024  # of the weight buffer, and of the input buffer
WRITE_BITS = 64  # of a word that is written into a buffer
LAYOUT_FACTOR = 1.5  # energy after place and route over that of synthesis ("PR_SCALING")

# What an access of a 512 KB buffer in 8 banks costs [pJ], by the bits of its read port: a read of all of them, and a
# write of 64. Solved from the 60 published energies on chip by least squares, which leaves at most 0.6 uJ of any; a
# test solves them again. The port of 576 bits is in one figure only: its write is interpolated, its read what remains.
BUFFER_COSTS: Mapping[int, tuple[float, float]] = {
    192: (66.5805, 14.1521),
    256: (70.0923, 12.9295),
    288: (72.5951, 12.0268),
    384: (82.8295, 10.6751),
    512: (92.7950, 10.4192),
    576: (105.7578, 10.3363),
    1024: (138.4408, 9.7558),
}


def _paper_platform() -> tuple[AsicPlatform, OffChipMemory]:
    platform = load_platform("bitmod-28nm")
    assert isinstance(platform, AsicPlatform)
    assert platform.main_memory is not None
    return platform, platform.main_memory


_PLATFORM, _DRAM = _paper_platform()
assert _DRAM.energy is not None
DRAM_ENERGY = _DRAM.energy.value  # pJ a bit, read or written
BUS_BYTES = int(_DRAM.bytes_per_second / _PLATFORM.clock.value)  # a cycle


def buffer_cost(port: int) -> tuple[float, float]:
    """Return the energy [pJ] of a read of a buffer with a port of so many bits, and of a write of 64 of them.

    Raises
    ------
    InputError
        If none of the paper's accelerators has such a port.
    """
    if port not in BUFFER_COSTS:
        known = ", ".join(map(str, BUFFER_COSTS))
        raise InputError(f"the cost of a buffer's port of {port} bits is not known; known are ports of {known} bits")
    return BUFFER_COSTS[port]


@dataclass(frozen=True)
class Array:
    """Processing elements: ``rows`` output channels by ``columns`` tokens, output stationary."""

    rows: int
    columns: int

    @property
    def elements(self) -> int:
        """How many there are."""
        return self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One of the designs, which have about the same area.

    Attributes
    ----------
    name : in the paper.
    prefill, decode : its array for a prompt, and for one token.
    prefill_bits, decode_bits : that a weight is charged with; ``by_model``: at decoding, where a model's differ.
    prefill_format, decode_format : what mxhw calls the format of its weights; None: mxhw does not have it.
    dot_product : products that an element sums in a step.
    is_serial : whether a step takes a cycle for two bits of a weight (radix-4 Booth digits), instead of one cycle.
    element : what the platform calls its processing element.
    cache_bits : of a key or value (INT8 for BitMoD, which the paper says and its plots do not use).
    """

    name: str
    prefill: Array
    decode: Array
    prefill_bits: float
    decode_bits: float
    by_model: Mapping[str, float] = field(default_factory=dict)
    prefill_format: str | None = None
    decode_format: str | None = None
    dot_product: int = 1
    is_serial: bool = False
    element: str
    cache_bits: int = INPUT_BITS

    @property
    def element_energy(self) -> float:
        """Energy of an element in a cycle [pJ], before place and route."""
        return _PLATFORM.element[self.element].energy.value

    def array(self, tokens: int) -> Array:
        """Return the array that so many tokens at once meet."""
        return self.decode if tokens == 1 else self.prefill

    def bits(self, model: ModelShape, tokens: int) -> float:
        """Return the bits that a weight is charged with."""
        return self.by_model.get(model.name, self.decode_bits) if tokens == 1 else self.prefill_bits

    def format(self, tokens: int) -> str | None:
        """Return mxhw's name of the weights' format."""
        return self.decode_format if tokens == 1 else self.prefill_format

    def terms(self, bits: float) -> int:
        """Return the cycles of a step with weights of so many bits, of which a fraction is for scales."""
        return ceil(int(bits) / 2) if self.is_serial else 1

    def ports(self, model: ModelShape, tokens: int) -> tuple[int, int]:
        """Return the bits of the buffers' read ports, weights and inputs: half of a step's where it is serial."""
        array, halves = self.array(tokens), 2 if self.is_serial else 1
        weights = self.dot_product * 4 * ceil(self.bits(model, tokens) / 4) * array.rows
        return weights // halves, self.dot_product * INPUT_BITS * array.columns // halves


FP16 = Accelerator(
    name="FP16",
    prefill=Array(32, 24),
    decode=Array(64, 12),
    prefill_bits=16,
    decode_bits=16,
    prefill_format="fp16",
    decode_format="fp16",
    element="fp16",
)
LOSSLESS = Accelerator(
    name="BitMoD lossless",
    prefill=Array(32, 32),
    decode=Array(64, 16),
    prefill_bits=6.0625,
    decode_bits=6.0625,
    prefill_format="int6-g128-s8",
    decode_format="int6-g128-s8",
    dot_product=4,
    is_serial=True,
    element="bitmod",
    cache_bits=8,
)
LOSSY = Accelerator(
    name="BitMoD lossy",
    prefill=Array(32, 32),
    decode=Array(64, 16),
    prefill_bits=4.0625,
    decode_bits=3.0625,
    prefill_format="bitmod4",
    decode_format="bitmod3",
    dot_product=4,
    is_serial=True,
    element="bitmod",
    cache_bits=8,
)
# Bits of the two others at decoding are those of the authors' `sim/test_ant.py` and `sim/test_olive.py`; at prefill
# they are the only multiple of 1/32 that gives the published cycles of all six models.
ANT = Accelerator(
    name="ANT",
    prefill=Array(32, 32),
    decode=Array(64, 16),
    prefill_bits=5.5,
    decode_bits=5,
    by_model={"Yi-6B": 5.25, "Llama-3-8B": 4.5},
    element="ant",
)
OLIVE = Accelerator(
    name="OliVe",
    prefill=Array(36, 32),
    decode=Array(72, 16),
    prefill_bits=4.5,
    decode_bits=4,
    by_model={"OPT-1.3B": 3.875, "Yi-6B": 4.25, "Llama-2-7B": 3.75, "Llama-2-13B": 3.75, "Llama-3-8B": 3.5},
    element="olive",
)
ACCELERATORS = (FP16, LOSSLESS, LOSSY, ANT, OLIVE)
