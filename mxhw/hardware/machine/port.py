"""The port through which weights come: beats, and cycles in which they are taken.

A word of a memory wider than the port comes in several beats, the last of which is padded; of narrow words a beat
brings as many as are whole in it, and the memory takes one a cycle (`rtl_templates/memory/layer_loader.py`). Memory
outside gives no more than its bandwidth; its latency passes once, since what is loaded next is known long before.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from mxhw.errors import InputError
from mxhw.hardware.structure import Product

__all__ = ["PART_BITS", "Load", "Port", "best_port"]

PART_BITS = 32
"""A port has a multiple of so many bits."""
_WIDEST = 1 << 14


@dataclass(frozen=True)
class Load:
    """What comes through a port.

    Attributes
    ----------
    cycles : in which memories take it, where nothing else limits them.
    bits : that are moved, beats padded.
    """

    cycles: float
    bits: float

    def __add__(self, other: "Load") -> "Load":
        return Load(self.cycles + other.cycles, self.bits + other.bits)

    def __mul__(self, times: float) -> "Load":
        return Load(self.cycles * times, self.bits * times)


@dataclass(frozen=True)
class Port:
    """A port of a design, and the memory outside behind it.

    Attributes
    ----------
    bits : of a beat, one a cycle.
    bandwidth : bits a cycle that memory outside gives.
    latency : cycles from asking for a beat to its arrival.
    """

    bits: int
    bandwidth: float
    latency: int = 0

    def __post_init__(self) -> None:
        if type(self.bits) is not int or self.bits < PART_BITS or self.bits % PART_BITS:
            raise InputError(f"a port of weights must have a multiple of {PART_BITS} bits, not {self.bits!r}")
        if not self.bandwidth > 0:
            raise InputError(f"memory outside must give more than 0 bits a cycle, not {self.bandwidth!r}")

    @property
    def rate(self) -> float:
        """Bits a cycle: those of the port or of the memory behind it, whichever are fewer."""
        return min(float(self.bits), self.bandwidth)

    def words(self, depth: int, width: int) -> Load:
        """Return the load of ``depth`` words of ``width`` bits."""
        if not depth * width:
            return Load(0, 0)
        beats, together = -(-width // self.bits), max(1, self.bits // width)
        return Load(depth * beats, -(-depth // together) * beats * self.bits)

    def layer(self, product: Product) -> Load:
        """Return the load of one layer's weights of a product, of one expert: codes, then metadata."""
        return self._tiles(product, product.column_tiles, 1)

    def tiles(self, product: Product) -> Load:
        """Return the same where each column tile comes by itself."""
        return self._tiles(product, 1, product.column_tiles)

    def _tiles(self, product: Product, together: int, times: int) -> Load:
        codes = self.words(together * product.chunks, product.columns * product.lanes * product.code_bits)
        scales = self.words(together * product.blocks, product.columns * product.metadata_bits)
        return (codes + scales) * times

    def after_each_other(self, loads: Iterable[Load]) -> float:
        """Return the cycles of loads that share one way into the memories: the slower of it and of the bandwidth."""
        return float(sum(max(load.cycles, load.bits / self.bandwidth) for load in loads))

    def side_by_side(self, loads: Iterable[Load]) -> float:
        """Return the cycles of loads into memories that each have a way of their own, from one port."""
        found = list(loads)
        return max(sum(load.bits for load in found) / self.rate, *(float(load.cycles) for load in found), 0.0)


def best_port(products: Iterable[Product], bandwidth: float, latency: int = 0) -> Port:
    """Return the quickest port of a power of two: for loads side by side, then after each other; then the narrowest."""
    found = list(products)
    widths = [PART_BITS << n for n in range((_WIDEST // PART_BITS).bit_length())]
    ports = [Port(bits, bandwidth, latency) for bits in widths if bits <= max(PART_BITS, 2 * bandwidth)]

    def cycles(port: Port) -> tuple[float, float, int]:
        tiles, layers = map(port.tiles, found), map(port.layer, found)
        return port.side_by_side(tiles), port.after_each_other(layers), port.bits

    return min(ports, key=cycles)
