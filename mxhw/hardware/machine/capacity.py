"""What a placed model takes of a platform, and what it needs of memory outside; which placement is the first that fits.

Beside its steps, and what stands between them, a design has the queue in which a chunk's hidden vectors wait for the
next layer, and where weights are loaded, a loader for each memory. The few units of control of a language model that
the parts do not name (the order of passes, the choice of a token) are not counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mxhw.errors import InputError
from mxhw.hardware.machine.placement import Placement, candidates, placed
from mxhw.hardware.platform import Platform, onchip_bits
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import NOTHING, Resources, unit_sizes
from mxhw.hardware.sizes.connections import connections, output_beat
from mxhw.hardware.structure import (
    AttentionUnit,
    Design,
    Embedding,
    Fifo,
    Loader,
    MemoryShape,
    ModelDesign,
    Product,
    Unit,
    VectorUnit,
)

__all__ = ["Capacity", "capacity", "first_that_fits"]

_GIB = float(8 << 30)
LOOP = "loop"


@dataclass(frozen=True, eq=False)
class Capacity:
    """What a design consists of.

    Attributes
    ----------
    platform : that it is built from.
    steps : (part, step) → its unit.
    others : part → connections, loaders, the loop's queue.
    outside : what lies in memory outside → bits: "weights", "head", "embedding", "cache", "constants".
    """

    platform: Platform
    steps: Mapping[tuple[str, str], Unit]
    others: Mapping[str, tuple[Unit, ...]]
    outside: Mapping[str, float]

    @cached_property
    def resources(self) -> Resources:
        """What all of it takes."""
        return sum((unit_resources(unit, self.platform) for unit in self._units), NOTHING)

    @cached_property
    def logic(self) -> Resources:
        """What of that is logic."""
        return sum((unit_sizes(unit, self.platform) for unit in self._units), NOTHING)

    @property
    def memories(self) -> Iterator[MemoryShape]:
        """All memories of the design."""
        for unit in self._units:
            yield from unit.memories()

    @property
    def missing(self) -> list[str]:
        """What there is too little of: in words, with both numbers; nothing where it fits."""
        platform, found = self.platform, []
        for name, amount in self.resources.amounts.items():
            there = platform.budget.get(name)
            if there is not None and amount > there.value:
                found.append(f"{amount:,.0f} {there.unit} ({name}) of {there.value:,.0f}")
        needed, memory = sum(self.outside.values()), platform.main_memory
        if needed and memory is None:
            found.append(f"{needed / _GIB:,.3g} GiB of memory outside, of which there is none")
        elif memory is not None and needed > memory.bits:
            found.append(f"{needed / _GIB:,.4g} GiB of memory outside ({memory.kind}) of {memory.bits / _GIB:,.4g}")
        return found

    @property
    def _units(self) -> Iterator[Unit]:
        yield from self.steps.values()
        for units in self.others.values():
            yield from units


def capacity(model: ModelDesign, placement: Placement, platform: Platform, chunk: int, port: int) -> Capacity:
    """Return what a model takes, whose memories are not yet placed; ``port``: bits of a beat of memory outside."""
    made = placed(model, placement, chunk).parts
    steps = {(part, name): step.unit for part, (design, _) in made.items() for name, step in design.steps.items()}
    others = {part: (*connections(design), *_loaders(design, port)) for part, (design, _) in made.items()}
    if model.folded:
        others[LOOP] = _loop(model, chunk)
    return Capacity(platform, steps, others, _outside(model, placement))


def first_that_fits(
    model: ModelDesign, platform: Platform, wanted: Mapping[str, str], chunk: int, port: int
) -> tuple[Placement, Capacity]:
    """Return the first of the :func:`.candidates` that a platform has room for.

    Raises
    ------
    InputError
        If there is none: what the last one, which takes the least, needs, and what there is.
    """
    tried: list[tuple[Placement, Capacity]] = []
    for placement in candidates(model, wanted):
        found = capacity(model, placement, platform, chunk, port)
        if not found.missing:
            return placement, found
        tried.append((placement, found))
    with_memory = [each for each in tried if each[0].all_inside or platform.main_memory is not None]
    placement, found = (with_memory or tried)[-1]
    bits = sum(onchip_bits(platform).values())
    raise InputError(
        f"the model does not fit platform {platform.name!r}: with {placement} it needs {'; '.join(found.missing)} "
        f"(about {bits / 8e6:,.1f} MB on chip); give a larger platform, narrower formats, fewer keys or smaller arrays"
    )


def _loop(model: ModelDesign, chunk: int) -> tuple[Unit, ...]:
    """Return the queue of a chunk's hidden vectors."""
    design = model.blocks[-1].design
    last = design.steps[design.outputs[0]]
    if not isinstance(last.unit, VectorUnit):
        return ()
    beats = last.unit.length // last.lanes_out
    return (Fifo(depth=chunk * beats, bits=output_beat(last).payload),)


def _loaders(design: Design, port: int) -> Iterator[Unit]:
    for step in design.steps.values():
        unit = step.unit
        if isinstance(unit, Product) and unit.storage != "inside":
            for shape in unit.memories():
                if shape.name in ("weights", "metadata"):
                    yield Loader(port=port, width=shape.bits)


def _outside(model: ModelDesign, placement: Placement) -> dict[str, float]:
    """Return the bits of what lies outside."""
    found: dict[str, float] = {}

    def add(what: str, bits: float) -> None:
        if bits:
            found[what] = found.get(what, 0.0) + bits

    for part, (design, layers) in model.parts.items():
        block = part.startswith("block")
        for step in design.steps.values():
            unit = step.unit
            if isinstance(unit, Product) and (placement.weights if block else placement.head) != "inside":
                add("weights" if block else "head", float(unit.weight_bits * unit.experts * layers))
            elif isinstance(unit, AttentionUnit) and placement.cache == "outside":
                add("cache", float(unit.banks * unit.keys * unit.token_bits))
            elif isinstance(unit, Embedding) and placement.embedding == "outside":
                add("embedding", float(unit.rows * unit.row_bits))
            elif block and placement.constants == "layers":
                add("constants", float(getattr(unit, "constant_words", 0) * getattr(unit, "constant_bits", 0)))
    return found
