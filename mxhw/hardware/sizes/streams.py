"""Features of what connects units, and of the control of folded designs."""

from math import gcd

from mxhw.hardware.sizes.features import Fabric, Features, address, register_features
from mxhw.hardware.structure import Control, Converter, Fifo, Fork, Loader
from mxhw.hardware.structure.unit import QUEUE_WORDS

__all__: list[str] = []

_SKID = 2  # beats that a skid buffer holds
_MERGED = 2  # parts of a beat whose choice is merged with that of a new beat


@register_features(Fifo)
def _fifo(unit: Fifo, fabric: Fabric) -> Features:
    words = unit.depth - 1
    if unit.depth <= _SKID:
        return Features(f"Fifo {unit.depth}", {"one": 1, "bit": unit.bits} if unit.depth else {})
    counters = {"one": 1, "address": address(words)}
    if words >= QUEUE_WORDS:
        return Features("Fifo memory", counters)
    return Features("Fifo short", {**counters, "bit": unit.bits, "stored": fabric.queue(words, unit.bits)})


@register_features(Fork)
def _fork(unit: Fork, fabric: Fabric) -> Features:
    # Whether a reader is done depends on itself; that all are done, on all of them.
    return Features("Fork", {"reader": unit.readers, "pair": unit.readers * (unit.readers - 1)})


@register_features(Converter)
def _converter(unit: Converter, fabric: Fabric) -> Features:
    few = gcd(unit.given, unit.lanes)
    group = few * unit.element_bits + unit.beside_bits
    taken, given = unit.given // few, unit.lanes // few
    if taken == given:
        return Features("Converter wire", {})
    most = max(taken, given)
    amounts = {"one": 1, "stored": most * group, "part": most * address(most)}
    if taken == 1:
        return Features("Converter widen", amounts)
    if given == 1:
        return Features(
            "Converter narrow", amounts | {"moved": most * group * (most > _MERGED), "far": most * most * group}
        )
    size = taken + given - 1
    return Features("Converter gear", {"one": 1, "stored": size * group, "moved": size * group * min(taken, given)})


@register_features(Loader)
def _loader(unit: Loader, fabric: Fabric) -> Features:
    return loader(unit.port, unit.width)


def loader(port: int, width: int) -> Features:
    """Return the features of what puts beats of ``port`` bits together to words, or takes them apart."""
    beats, words = -(-width // port), max(1, port // width)
    stored, chosen = (beats - 1) * port, words * width * (words > 1)
    return Features("Loader", {"one": 1, "stored": stored, "chosen": chosen, "count": address(max(beats, words))})


@register_features(Control)
def _control(unit: Control, fabric: Fabric) -> Features:
    if unit.kind in ("field", "keep", "take_share"):  # beats pass or are dropped
        return Features(f"Control {unit.kind}", {"one": 1})
    amounts = {"one": 1, "bit": unit.lanes * unit.bits}
    if unit.kind in ("pass_order", "token_select"):
        amounts |= {"address": address(unit.words)}
    return Features(f"Control {unit.kind}", amounts)
