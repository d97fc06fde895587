"""A whole model on a platform, as a function of what is asked of it.

    machine = machine_of(model, platform)                      # where everything lies, how wide the port is
    found = machine.cost(prefill=2048, decode=256, batch=1)    # a MachineCost

Nothing about lengths is decided before :meth:`Machine.cost` is asked; what a machine has computed of its units serves
all later questions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mxhw.errors import InputError
from mxhw.hardware.machine.capacity import LOOP, Capacity, first_that_fits
from mxhw.hardware.machine.energy import Spans
from mxhw.hardware.machine.parts import parts_of
from mxhw.hardware.machine.passes import Part
from mxhw.hardware.machine.phases import phase_cost
from mxhw.hardware.machine.placement import Placement, placed
from mxhw.hardware.machine.port import PART_BITS, Port, best_port
from mxhw.hardware.machine.report import MachineCost, PhaseCost
from mxhw.hardware.machine.timing import Pipeline, Span
from mxhw.hardware.platform import Platform
from mxhw.hardware.resources import unit_resources
from mxhw.hardware.sizes import NOTHING
from mxhw.hardware.structure import AttentionUnit, ModelDesign, Product

__all__ = ["DEFAULT_CHUNK", "Machine", "machine_of"]

DEFAULT_CHUNK = 16
"""Tokens that are worked on layer by layer, as emitted designs have it (`mxhw.flow.language`)."""


@dataclass(frozen=True, eq=False)
class Machine:
    """A model whose memories are placed, on a platform.

    Attributes
    ----------
    model : with its memories where they lie.
    platform, placement, port, chunk, capacity : as :func:`machine_of` has found them.
    """

    model: ModelDesign
    platform: Platform
    placement: Placement
    port: Port | None
    chunk: int
    capacity: Capacity

    def cost(self, *, prefill: int, decode: int, batch: int = 1) -> MachineCost:
        """Return what ``batch`` prompts of ``prefill`` tokens cost, and ``decode`` steps of generation behind them.

        The token that follows a prompt comes with the prefill; each step reads the last token of every sequence and
        gives one more.

        Raises
        ------
        InputError
            If a number is impossible, or the caches have no room for so many tokens or sequences.
        """
        self._check(prefill, decode, batch)
        first = self.pipeline.prefill(prefill, batch)
        then = self.pipeline.decode(prefill, decode, batch, first.idle)
        return MachineCost(
            platform=self.platform.name,
            clock=self.platform.clock.value,
            placement=self.placement,
            port=0 if self.port is None else self.port.bits,
            chunk=self.chunk,
            batch=batch,
            prefill=self._phase("prefill", first, 0, prefill, batch),
            decode=self._phase("decode", then, prefill, decode, batch),
            resources=self.capacity.resources.amounts,
            budget={name: amount.value for name, amount in self.platform.budget.items()},
            by_part=self._by_part,
            outside=self.capacity.outside,
            without_rtl=tuple(
                f"{part}: {name}" for (part, name), unit in self.capacity.steps.items() if not unit.has_rtl
            ),
        )

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts: front, blocks, back."""
        return parts_of(self.model, self.port, self.keys, constants_loaded=self.placement.constants == "layers")

    @cached_property
    def pipeline(self) -> Pipeline:
        """The parts in time."""
        front, *blocks, back = self.parts
        return Pipeline(front=front, blocks=tuple(blocks), back=back, folded=self.model.folded, chunk=self.chunk)

    @cached_property
    def keys(self) -> int:
        """Tokens of the longest sequence that caches have room for."""
        return min((unit.keys for unit in self._attention), default=1)

    @cached_property
    def sequences(self) -> int:
        """Sequences that caches have room for."""
        rooms = [
            step.unit.banks // layers
            for design, layers in self.model.parts.values()
            for step in design.steps.values()
            if isinstance(step.unit, AttentionUnit)
        ]
        return min(rooms, default=1)

    @cached_property
    def _by_part(self) -> dict[str, Mapping[str, float]]:
        found = dict.fromkeys((*(part.name for part in self.parts), LOOP), NOTHING)
        for (part, _), unit in self.capacity.steps.items():
            found[part] += unit_resources(unit, self.platform)
        for part, units in self.capacity.others.items():
            found[part] += sum((unit_resources(unit, self.platform) for unit in units), NOTHING)
        return {part: each.amounts for part, each in found.items() if each.amounts}

    @property
    def _attention(self) -> Iterator[AttentionUnit]:
        for _, step in self.model.steps():
            if isinstance(step.unit, AttentionUnit):
                yield step.unit

    @property
    def _bandwidth(self) -> float:
        return 0.0 if self.port is None else self.port.rate * self.platform.clock.value / 8

    def _phase(self, name: str, span: Span, start: int, tokens: int, batch: int) -> PhaseCost:
        run = Spans(start, tokens, batch, span.groups)
        alike = span.wanted is span.groups
        last = run if alike else Spans(max(0, start + tokens - 1), min(1, tokens), batch, span.wanted)
        return phase_cost(name, span, run, last, self.parts, self.capacity, self._bandwidth)

    def _check(self, prefill: int, decode: int, batch: int) -> None:
        for name, value, least in (("prefill", prefill, 0), ("decode", decode, 0), ("batch", batch, 1)):
            if type(value) is not int or value < least:
                raise InputError(f"{name} must be an integer of at least {least}, not {value!r}")
        if prefill + decode > self.keys:
            raise InputError(
                f"caches of {self.keys} tokens have no room for {prefill} of a prompt and {decode} behind it; ask for "
                "fewer, or make the design for more keys"
            )
        if batch > self.sequences:
            raise InputError(f"caches of {self.sequences} sequences have no room for a batch of {batch}")


def machine_of(
    model: ModelDesign,
    platform: Platform,
    *,
    chunk: int = DEFAULT_CHUNK,
    port: int | None = None,
    place: Mapping[str, str] | None = None,
) -> Machine:
    """Return a model on a platform, its memories in the first placement that fits (:func:`.placement.candidates`).

    Parameters
    ----------
    chunk : tokens that go through a layer before the next layer is used, and that a loaded layer serves.
    port : bits of a beat of memory outside; by default those that load a layer in the fewest cycles.
    place : what is to lie where: "weights", "head", "cache", "embedding", "constants".

    Raises
    ------
    InputError
        If a number or a place is impossible, or the model fits no memory: what it needs and what there is.
    """
    if type(chunk) is not int or chunk < 1:
        raise InputError(f"chunk must be an integer of at least 1, not {chunk!r}")
    outside = _port(model, platform, port)
    placement, found = first_that_fits(
        model, platform, place or {}, chunk, PART_BITS if outside is None else outside.bits
    )
    used = None if placement.all_inside else outside
    return Machine(placed(model, placement, chunk), platform, placement, used, chunk, found)


def _port(model: ModelDesign, platform: Platform, bits: int | None) -> Port | None:
    memory, clock = platform.main_memory, platform.clock.value
    if memory is None:
        return None
    bandwidth, latency = memory.bits_per_cycle(clock), round(memory.latency_cycles(clock))
    if bits is not None:
        return Port(bits, bandwidth, latency)
    products = [
        step.unit for part, step in model.steps() if isinstance(step.unit, Product) and part.startswith("block")
    ]
    return best_port(products, bandwidth, latency)
