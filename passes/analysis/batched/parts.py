"""Parts of a model for which tables are made: which steps depend on a linear layer's formats, and how.

A product with its encoder in front and what stands behind it for the same node is a *group*. The other steps are fixed;
those of them that are connected and behind the same number of products are a *segment*. A product waits for the whole
of a row tile, so that the way through a design is one through groups and segments, each of which has its vectors when
it begins. (An encoder that several groups read counts once where it is not a matter of ways.)
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from mxhw.hardware.cycles import unit_interval
from mxhw.hardware.sizing import resized, unit_options
from mxhw.hardware.structure import (
    AttentionUnit,
    Design,
    Encoder,
    ModelDesign,
    Product,
    SoftmaxWeights,
    Step,
    Unit,
)

__all__ = ["Part", "designs", "parts_of", "sized_to", "with_readers"]


@dataclass(eq=False)
class Part:
    """Designs of equal steps.

    Attributes
    ----------
    design : the first of them.
    copies : their numbers among those of the model: 0 is the front.
    layers : that each serves.
    is_end : front or back.
    groups : product steps, whose formats are chosen.
    chains : step → the product step that it belongs to; encoders of products belong to none.
    readers : step that feeds encoders of products → the products that read it.
    sources : product step → that step.
    order : groups, and lists of the steps of segments, each behind all that it reads.
    """

    design: Design
    copies: list[int]
    layers: int
    is_end: bool
    groups: list[str] = field(default_factory=list)
    chains: dict[str, str] = field(default_factory=dict)
    readers: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    order: list[str | list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        steps = self.design.steps
        by_node: dict[str, str] = {}
        for name, step in steps.items():
            if isinstance(step.unit, Product):
                self.groups.append(name)
                by_node[step.node] = name
                (source,) = steps[step.inputs[0]].inputs
                self.sources[name] = source
                self.readers.setdefault(source, []).append(name)
        for name, step in steps.items():
            if step.node in by_node and not isinstance(step.unit, Encoder):
                self.chains[name] = by_node[step.node]
        self._sort()

    def encodes(self, design: Design, name: str) -> bool:
        """Return whether a step of one of the designs is an encoder of products."""
        step = design.steps[name]
        return isinstance(step.unit, Encoder) and any(
            name in other.inputs and isinstance(other.unit, Product) for other in design.steps.values()
        )

    def group_steps(self, design: Design, group: str) -> tuple[dict[str, Step], dict[str, int]]:
        """Return the steps of a group in one of the designs, its encoder first, and the stream that it reads."""
        encoder = design.steps[design.steps[group].inputs[0]]
        chain = {name: design.steps[name] for name, owner in self.chains.items() if owner == group}
        return {encoder.name: encoder, **chain}, {encoder.inputs[0]: _lanes(design, encoder.inputs[0], encoder, 0)}

    def segment_steps(self, design: Design, names: list[str]) -> tuple[dict[str, Step], dict[str, int]]:
        """Return the steps of a segment in one of the designs, and the streams that it reads."""
        steps = {name: design.steps[name] for name in names}
        inputs: dict[str, int] = {}
        for step in steps.values():
            for place, source in enumerate(step.inputs):
                if source not in steps:
                    inputs.setdefault(source, _lanes(design, source, step, place))
        return steps, inputs

    def _sort(self) -> None:
        """Find levels and segments."""
        steps, level = self.design.steps, dict.fromkeys(self.design.inputs, 0)
        segments: dict[str, list[str]] = {}
        by_level: dict[int, list[str | list[str]]] = {}
        for name, step in steps.items():
            before = max((level[source] for source in step.inputs), default=0)
            level[name] = before + isinstance(step.unit, Product)
            if name in self.sources:
                by_level.setdefault(level[name], []).insert(0, name)
            if name in self.chains or self.encodes(self.design, name):
                continue
            joined = [segments[s] for s in step.inputs if s in segments and level[s] == level[name]]
            own = joined[0] if joined else []
            own.append(name)
            for other in joined[1:]:
                if other is not own:
                    own.extend(other)
                    by_level[level[name]].remove(other)
                    segments.update(dict.fromkeys(other, own))
            if not joined:
                by_level.setdefault(level[name], []).append(own)
            segments[name] = own
        places = {name: place for place, name in enumerate(steps)}
        for number in sorted(by_level):
            for each in by_level[number]:
                if isinstance(each, list):
                    each.sort(key=places.__getitem__)
                self.order.append(each)


def _lanes(design: Design, source: str, step: Step, place: int) -> int:
    """Return the elements of a beat of a stream that a step reads."""
    if source in design.steps:
        return design.steps[source].lanes_out
    return design.inputs.get(source, step.lanes_in[place])


def designs(model: ModelDesign) -> Iterator[tuple[Design, int]]:
    """Yield front, blocks and back, and the layers that each serves (1 for the ends).

    Steps of a block of one layer have the names that they have within it, as those of a folded block.
    """
    prefixes = ("", *(f"{use.layers[0]}." for use in model.blocks), "")
    for prefix, (design, layers) in zip(prefixes, model.parts.values(), strict=True):
        yield _renamed(design, prefix), layers


def _renamed(design: Design, prefix: str) -> Design:
    def inner(name: str) -> str:
        return name.removeprefix(prefix)

    steps = {
        inner(name): replace(step, name=inner(name), inputs=tuple(map(inner, step.inputs)))
        for name, step in design.steps.items()
    }
    fifos = {(inner(source), inner(reader)): depth for (source, reader), depth in design.fifos.items()}
    return Design(design.inputs, steps, tuple(map(inner, design.outputs)), fifos)


def parts_of(model: ModelDesign) -> list[Part]:
    """Return the parts of a model; blocks of equal steps, one for each layer, are one."""
    found: dict[object, Part] = {}
    every = list(designs(model))
    for number, (design, layers) in enumerate(every):
        is_end = number in (0, len(every) - 1)
        key = number if is_end else (layers, tuple((name, step.inputs) for name, step in design.steps.items()))
        if key in found:
            found[key].copies.append(number)
        else:
            found[key] = Part(design, [number], layers, is_end)
    return list(found.values())


def sized_to(model: ModelDesign, target: float) -> ModelDesign:
    """Return a model whose steps have the smallest sizes that take no more cycles a token, in all layers of theirs."""

    def of(design: Design, layers: int) -> Design:
        steps = {name: resized(step, _smallest(step.unit, target / layers)) for name, step in design.steps.items()}
        return replace(design, steps=steps)

    blocks = tuple(replace(use, design=of(use.design, len(use.layers))) for use in model.blocks)
    return replace(model, front=of(model.front, 1), blocks=blocks, back=of(model.back, 1))


@cache
def _paced(unit: Unit) -> tuple[tuple[Unit, float], ...]:
    position = unit.most - 1 if isinstance(unit, AttentionUnit | SoftmaxWeights) else 0
    return tuple((each, unit_interval(each, position)) for each in unit_options(unit))


def _smallest(unit: Unit, target: float) -> Unit:
    options = _paced(unit)
    return next((each for each, interval in options if interval <= target), options[-1][0])


def with_readers(design: Design, name: str) -> Design:
    """Return a step, or an input, and nothing but its readers, which read nothing else."""
    readers = {
        step.name: replace(step, inputs=tuple(source if source == name else "" for source in step.inputs))
        for step in design.steps.values()
        if name in step.inputs
    }
    fifos = {pair: depth for pair, depth in design.fifos.items() if pair[0] == name}
    outputs = tuple(each for each in design.outputs if each == name)
    if name in design.inputs:
        return Design({name: design.inputs[name]}, readers, outputs, fifos)
    alone = replace(design.steps[name], inputs=(), lanes_in=())
    return Design({}, {name: alone, **readers}, outputs, fifos)
