"""What the table of sizes has: the catalogue's units at defaults and variants, and the parts that costs add up.

The size of a part whose accumulator depends on the layer is measured at two widths: the cost model interpolates.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from mxhw.arithmetic import bitmod_widths, dialect_widths, weight_types
from mxhw.rtl_templates.catalogue import unit_templates
from mxhw.rtl_templates.decoder import BitModTermDecoder, DialectDecoder
from mxhw.rtl_templates.gemm.drain import Drain
from mxhw.rtl_templates.gemm.sequencer import Sequencer
from mxhw.rtl_templates.gemm.shape import Tiling
from mxhw.rtl_templates.mac import BitSerialPE, DialectPE, IntegerMac
from mxhw.rtl_templates.template import Parameter

__all__ = ["Part", "Section", "all_parts"]

Section = Literal["components", "units"]
_LANES = 4
_SHORT_K, _LONG_K = 256, 8192  # two lengths of the reduction, for the price of an accumulator bit
_GROUP = 128
_DIALECT_BLOCK = 32
_DIALECT_EXPONENTS = ((14, 14), (8, 20))  # the narrowest and the widest range of weight exponents


@dataclass(frozen=True)
class Part:
    """An entry of the table.

    Attributes
    ----------
    section : "components" are what the cost model reads, "units" the catalogue.
    name : in that section.
    variants : accumulator bits (None: it has none to vary) and how to make the component.
    parameters : those of the catalogue's unit.
    """

    section: Section
    name: str
    variants: tuple[tuple[int | None, Callable[[], wiring.Component]], ...]
    parameters: dict[str, Parameter] = field(default_factory=dict)


class _Register(wiring.Component):  # type: ignore[misc]
    """A register with a clock enable: what stands between the decoders and the array."""

    def __init__(self, width: int) -> None:
        super().__init__({"enable": In(1), "d": In(width), "q": Out(width)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        with m.If(self.enable):
            m.d.sync += self.q.eq(self.d)
        return m


def all_parts() -> Iterator[Part]:
    """Yield every part of the table."""
    yield from _cost_model_parts()
    for template in unit_templates().values():
        for given in ({}, *template.variants):
            make = partial(template.make, **given)
            yield Part("units", template.label(given), ((None, make),), template.complete(given))


def _cost_model_parts() -> Iterator[Part]:
    tiling = Tiling(column_tiles=8, groups=2, group_chunks=32, steps=2)
    yield _single("int8_mac", partial(IntegerMac, width=8, accumulator=32))
    yield _single("register_32", partial(_Register, 32))
    yield _single("drain_256", partial(Drain, rows=4, columns=4, width=16))
    yield _single("sequencer", partial(Sequencer, tiling=tiling))
    yield _single("dialect_decoder", DialectDecoder)
    yield Part("components", "dialect_pe", tuple(_dialect_pe(exponents) for exponents in _DIALECT_EXPONENTS))
    for name, kind in weight_types().items():
        yield _single(f"bitmod_term_{name}", partial(BitModTermDecoder, weight_type=kind))
        # BitMoD's floating-point weights always have group scales.
        for scaled in (True,) if kind.magnitudes else (False, True):
            suffix = "scaled" if scaled else "plain"
            variants = tuple(_bitmod_pe(name, k, scaled) for k in (_SHORT_K, _LONG_K))
            yield Part("components", f"bitmod_pe_{name}_{suffix}", variants)


def _single(name: str, make: Callable[[], wiring.Component]) -> Part:
    return Part("components", name, ((None, make),))


def _dialect_pe(exponents: tuple[int, int]) -> tuple[int, Callable[[], wiring.Component]]:
    widths = dialect_widths(_SHORT_K, _DIALECT_BLOCK, exponents)
    return widths.accumulator, partial(DialectPE, widths=widths, lanes=_LANES)


def _bitmod_pe(name: str, k: int, scaled: bool) -> tuple[int, Callable[[], wiring.Component]]:
    kind = weight_types()[name]
    widths = bitmod_widths(name, k, _GROUP if scaled else None, _LANES)
    weight_type = (kind,) if kind.selector_significances else kind
    return widths.accumulator, partial(BitSerialPE, weight_type=weight_type, widths=widths, lanes=_LANES, scaled=scaled)
