"""Points of what connects units, and of the control of folded designs."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import wiring

from mxhw.hardware.structure import Control, Converter, Fifo, Fork, Loader
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.dataflow.width import WidthUnit
from mxhw.rtl_templates.memory import LayerLoader, LayerWords
from mxhw.rtl_templates.stream import Fifo as FifoUnit
from mxhw.rtl_templates.stream import Fork as ForkUnit
from mxhw.synthesis.grid.point import Point, quiet

__all__ = ["control_points", "stream_points"]

_CONVERTED = (  # lanes given and taken, bits of an element
    *((1, 4, 8), (1, 8, 16), (1, 2, 24)),
    *((4, 1, 8), (8, 2, 16), (4, 2, 24), (16, 1, 8)),
    *((4, 6, 8), (3, 4, 16), (2, 3, 24)),
)


def _fifo(depth: int, bits: int, *, held: bool = False) -> Point:
    return Point(Fifo(depth=depth, bits=bits), partial(FifoUnit, shape=bits, depth=depth), held)


def _fork(readers: int, bits: int, *, held: bool = False) -> Point:
    return Point(Fork(readers=readers, bits=bits), partial(ForkUnit, shape=bits, outputs=readers), held)


def _converter(given: int, lanes: int, bits: int, *, held: bool = False) -> Point:
    unit = Converter(given=given, lanes=lanes, element_bits=bits)
    return Point(unit, partial(WidthUnit, shape=bits, x_lanes=given, y_lanes=lanes), held)


def _loader(port: int, width: int, *, depth: int = 256, held: bool = False) -> Point:
    make = partial(LayerLoader, memories=(LayerWords(width, depth, port),))
    return Point(Loader(port=port, width=width), make, held)


def stream_points() -> Iterator[Point]:
    for depth, bits in ((1, 16), (2, 16), (2, 64), (4, 16), (16, 16), (8, 32), (33, 16), (128, 64), (1024, 32)):
        yield _fifo(depth, bits)
    yield _fifo(12, 24, held=True)
    yield _fifo(256, 24, held=True)
    for readers, bits in ((2, 16), (3, 64)):
        yield _fork(readers, bits)
    yield _fork(5, 32, held=True)
    for given, lanes, bits in _CONVERTED:
        yield _converter(given, lanes, bits)
    yield _converter(2, 8, 16, held=True)
    yield _converter(8, 1, 24, held=True)
    for port, width in ((64, 128), (32, 256), (64, 32), (128, 16)):
        yield _loader(port, width)
    yield _loader(64, 512, held=True)


def _controlled(kind: Any, component: Callable[[], wiring.Component], held: bool = False, **sizes: int) -> Point:
    return Point(Control(kind=kind, **sizes), component, held)


def control_points() -> Iterator[Point]:
    make = {name: unit_named(name).make for name in ("pass_order", "token_select", "enter", "keep", "arg_max")}
    for layers, chunk, keys, held in ((5, 32, 128, False), (32, 64, 2048, False), (16, 32, 512, True)):
        component = partial(make["pass_order"], layers=layers, chunk=chunk, keys=keys)
        words, word_bits = quiet(component()).memory
        bits = _payload_bits(component(), "y")
        yield _controlled("pass_order", component, held, bits=bits, words=words, word_bits=word_bits)
    for vocabulary, sequences, chunk, held in ((512, 2, 32, False), (32000, 8, 64, False), (4096, 4, 32, True)):
        component = partial(make["token_select"], vocabulary=vocabulary, sequences=sequences, chunk=chunk)
        bits, capacity = _payload_bits(component(), "y"), quiet(component()).capacity
        number = max(1, (sequences - 1).bit_length())
        yield _controlled("token_select", component, held, lanes=sequences, bits=bits, words=capacity, word_bits=number)
    for name in ("enter", "keep", "arg_max"):
        for lanes, bits, held in ((1, 24, False), (4, 16, False), (8, 24, False), (2, 20, True)):
            component = partial(make[name], length=64 * lanes, bits=bits, lanes=lanes)
            yield _controlled(name, component, held, lanes=lanes, bits=bits)
    yield _controlled("field", partial(unit_named("pass_field").make))
    for bits, held in ((64, False), (32, False), (128, True)):
        yield _controlled("take_share", partial(unit_named("take_share").make, bits=bits), held, bits=bits)


def _payload_bits(component: Any, member: str) -> int:
    return int(Shape.cast(getattr(quiet(component), member).payload.shape()).width)
