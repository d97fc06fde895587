"""Parallelism under a budget: the smallest interval that all steps meet and the platform has room for.

All steps work at the same time on successive tokens, so that the slowest one sets the cycles a token. Every step has a
few options (columns and lanes of a product, lanes of a function) with an interval, which the timed component gives, and
resources. For a bound on the interval each step takes its cheapest option within the bound; the smallest bound whose
total fits is found by bisection over all intervals that occur, of which it is the best: nothing between them exists.
With one resource (ASIC area) that is the optimum. With several, an option's price is the sum of its shares of the
budgets, or mostly its share of one of them, whichever ends with the smaller interval.

Weights behind a memory port are read once a token: the port's bits a cycle bound the interval from below.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, gcd
from typing import Any

import numpy as np

from mxhw.arithmetic.dataflow import (
    Activation,
    Add,
    AttentionScores,
    AttentionValues,
    Bias,
    BlockCodes,
    Embedding,
    Folded,
    IntegerGraph,
    LayerNorm,
    Linear,
    Multiply,
    Operation,
    Quantize,
    ReLU,
    Requantize,
    RMSNorm,
    Step,
)
from mxhw.errors import InputError
from mxhw.hardware import Platform
from mxhw.hardware.balance import OptionTable, smallest_interval, smallest_need
from mxhw.hardware.sizes import NOTHING, Resources
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from mxhw.passes.emit.dataflow.registry import OperationTable
from mxhw.passes.emit.dataflow.resources import fifo_resources, linear_layers, step_resources
from mxhw.passes.emit.dataflow.schedule import step_interval

__all__ = ["Balanced", "Option", "Sizing", "balance", "last_position", "register_options", "step_options"]

MOST_COLUMNS = 64
MOST_LANES = 16
_ROUNDS = 6
_MORE = 1.1  # another choice has other FIFOs

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Option:
    """What a step may be built as."""

    sizes: Sizes
    interval: float
    resources: Resources


@dataclass(frozen=True)
class Balanced:
    """The choice.

    Attributes
    ----------
    parallelism : step → sizes, for :func:`.place.place_graph`.
    intervals : step → cycles a token.
    resources : step → amounts; of FIFOs under "".
    depths : of the FIFOs.
    """

    parallelism: dict[str, Sizes]
    intervals: dict[str, float]
    resources: dict[str, Resources]
    depths: dict[tuple[str, str], int]

    @property
    def interval(self) -> float:
        """Cycles between tokens: those of the slowest step."""
        return max(self.intervals.values())

    @property
    def total(self) -> Resources:
        """Of the whole design."""
        return sum(self.resources.values(), NOTHING)


Choices = Callable[[Any], Iterable[Sizes]]
Sizing = Callable[[Any, Mapping[str, Placed]], dict[tuple[str, str], int]]
_CHOICES: OperationTable[Choices] = OperationTable()


def register_options(*kinds: type[Operation], folded: bool = False) -> Callable[[Choices], Choices]:
    """Return a decorator that makes a function the choices of sizes of classes of operations."""
    return _CHOICES.adder(*kinds, folded=folded)


def balance(
    graph: IntegerGraph,
    platform: Platform,
    *,
    share: float = 1.0,
    position: int | None = None,
    weight_port: int | None = None,
    fixed: Mapping[str, Sizes] | None = None,
    times: Mapping[str, int] | None = None,
    sizing: Sizing = fifo_depths,
) -> Balanced:
    """Return the parallelism with the smallest interval that fits a share of the platform's budget, FIFOs included.

    Parameters
    ----------
    graph, platform : what is built, and from what.
    share : of the budget that may be used.
    position : of the token whose interval counts, for attention; by default the last one of the longest sequence.
    weight_port : bits a cycle of the memory port that weights come through; None: they lie in memories of the design.
    fixed : sizes of steps that are not to be chosen; what they leave open is.
    times : how often a token passes a step, once where nothing is said: layers that share it.
    sizing : gives the depths of the FIFOs.

    Raises
    ------
    InputError
        If the design exceeds the platform at its smallest: what it needs, and what there is.
    """
    if not 0 < share <= 1:
        raise InputError(f"share must be above 0 and at most 1, not {share!r}")
    if weight_port is not None and weight_port < 1:
        raise InputError(f"weight_port must be at least 1 bit a cycle, not {weight_port!r}")
    inside = weight_port is None
    options = {
        name: step_options(
            step,
            platform,
            position=position,
            weights_inside=inside,
            fixed=(fixed or {}).get(name),
            times=(times or {}).get(name, 1),
        )
        for name, step in graph.steps.items()
    }
    least = 0 if weight_port is None else ceil(_weight_bits(graph, times or {}) / weight_port)
    budget = {name: amount.value * share for name, amount in platform.budget.items()}
    fifos, table = NOTHING, _table(options, platform)
    for _ in range(_ROUNDS):
        room = {name: amount - fifos[name] for name, amount in budget.items()}
        chosen = _choose(options, table, room, least)
        if chosen is None:
            raise _too_small(table, fifos, budget, platform, share)
        parallelism = {name: option.sizes for name, option in chosen.items() if option.sizes}
        placed = place_graph(graph, parallelism)
        depths = sizing(graph, placed)
        needed = fifo_resources(graph, placed, depths, platform)
        total = sum((option.resources for option in chosen.values()), needed)
        if all(total[name] <= amount for name, amount in budget.items()):
            break
        fifos = Resources({name: max(fifos[name], needed[name]) * _MORE for name in budget})
    else:
        raise _too_small(table, fifos, budget, platform, share)
    intervals = {name: max(option.interval, least * (name in _products(graph))) for name, option in chosen.items()}
    return Balanced(parallelism, intervals, {name: o.resources for name, o in chosen.items()} | {"": needed}, depths)


def step_options(
    step: Step,
    platform: Platform,
    *,
    position: int | None = None,
    weights_inside: bool = True,
    fixed: Sizes | None = None,
    times: int = 1,
) -> list[Option]:
    """Return what a step may be built as, quickest last; those that are neither quicker nor smaller are left out.

    An option's interval is that of a token, which passes the step so many ``times``.

    Raises InputError if it cannot be built with the ``fixed`` sizes.
    """
    operation, found = step.operation, []
    at = last_position(operation) if position is None else position
    refused: InputError | None = None
    for sizes in _with_fixed(_choices(operation), fixed):
        try:
            placed = _placed(step, sizes)
        except InputError as error:
            refused = error  # sizes that this component does not take together
            continue
        resources = step_resources(operation, placed, platform, weights_inside=weights_inside)
        found.append(Option(dict(sizes), step_interval(operation, placed, at) * times, resources))

    if not found and refused is not None:
        raise refused

    def beats(a: Option, b: Option) -> bool:
        """Whether ``a`` is as quick as ``b`` and takes no more of anything."""
        return a.interval <= b.interval and all(a.resources[name] <= b.resources[name] for name in platform.budget)

    kept: list[Option] = []
    for option in sorted(found, key=lambda o: o.interval):
        if not any(beats(other, option) for other in kept):
            kept = [other for other in kept if not beats(option, other)] + [option]
    return kept[::-1]


def _with_fixed(choices: Iterable[Sizes], fixed: Sizes | None) -> list[Sizes]:
    """Return the choices with the fixed sizes in place, each once."""
    kept = {tuple(sorted({**sizes, **(fixed or {})}.items())) for sizes in choices}
    return [dict(sizes) for sizes in sorted(kept)]


def _placed(step: Step, sizes: Sizes) -> Placed:
    """Return the component of a step that stands alone."""
    types = dict(zip((f"input {i}" for i in range(len(step.inputs))), step.operation.inputs, strict=True))
    alone = IntegerGraph(types, [Step(step.name, step.node, step.operation, tuple(types))], [step.name])
    return place_graph(alone, {step.name: sizes})[step.name]


def _table(options: Mapping[str, list[Option]], platform: Platform) -> OptionTable:
    rows = [[(option.interval, option.resources.amounts) for option in each] for each in options.values()]
    return OptionTable.of(rows, list(platform.budget))


def _choose(
    options: Mapping[str, list[Option]], table: OptionTable, room: Mapping[str, float], least: int
) -> dict[str, Option] | None:
    """Return every step's cheapest option within the smallest interval that fits; None if none does."""
    choice = smallest_interval(table, room, least=least)
    if choice is None:
        return None
    return {name: each[index] for (name, each), index in zip(options.items(), choice.tolist(), strict=True)}


def _too_small(
    table: OptionTable, fifos: Resources, budget: Mapping[str, float], platform: Platform, share: float
) -> InputError:
    """Return the error: what the design needs whose options are the smallest in shares of the budgets."""
    smallest = {name: amount + fifos[name] for name, amount in smallest_need(table, budget).items()}
    over = [name for name, amount in budget.items() if smallest[name] > amount] or list(budget)
    said = ", ".join(
        f"{smallest[name]:,.0f} {platform.budget[name].unit} ({name}), {smallest[name] / budget[name] - 1:.0%} above "
        f"the {budget[name]:,.0f} that may be used"
        for name in over
    )
    return InputError(
        f"the design exceeds platform {platform.name!r} at its smallest parallelism: it needs {said} (budget times a "
        f"share of {share:g}); give a larger budget or platform, narrower formats, or a memory port for weights"
    )


def _products(graph: IntegerGraph) -> set[str]:
    return {name for name, step in graph.steps.items() if linear_layers(step.operation)}


def _weight_bits(graph: IntegerGraph, times: Mapping[str, int]) -> int:
    """Bits of the weights that a token meets, as the memories of one column hold them: codes, and what stands beside
    the groups. Of layers that share a unit it meets one each of the ``times`` that it passes."""
    total = 0
    for name in _products(graph):
        gemm: Any = _placed(graph.steps[name], {"columns": 1}).component.gemm  # type: ignore[attr-defined]
        bits = gemm.weights_depth * gemm.weights_width + gemm.metadata_depth * gemm.metadata_width
        total += bits // gemm.layers * times.get(name, 1)
    return total


def last_position(operation: Operation) -> int:
    """Return the last position of the longest sequence, for attention; else 0."""
    if isinstance(operation, AttentionScores):
        return operation.y.keys - 1
    keys = getattr(getattr(operation, "weights", getattr(operation, "x", None)), "keys", None)
    return 0 if keys is None else int(keys) - 1


def _divisors(length: int, most: int) -> list[int]:
    return [n for n in range(1, min(length, most) + 1) if length % n == 0]


def _choices(operation: Operation) -> list[Sizes]:
    """Return the sizes that an operation may have; one without choices has its default."""
    choices = _CHOICES.find(operation)
    return [{}] if choices is None else list(choices(operation))


@register_options(Linear)
def _product_choices(operation: Linear) -> Iterator[Sizes]:
    for lanes in _powers(gcd(operation.x.block, operation.x.length)):
        for columns in _divisors(operation.channels, MOST_COLUMNS):
            yield {"columns": columns, "lanes": lanes}


@register_options(Linear, folded=True)
def _folded_product_choices(operation: Folded) -> Iterable[Sizes]:
    assert isinstance(operation.first, Linear)
    return _product_choices(operation.first)


@register_options(Requantize, Bias, RMSNorm, LayerNorm, folded=True)
@register_options(Requantize, Bias, Add, Multiply, ReLU, Activation, RMSNorm, LayerNorm, Embedding, Quantize)
def _function_choices(operation: Operation) -> Iterator[Sizes]:
    output = operation.output
    block = output.block if isinstance(output, BlockCodes) else None
    length = output.length  # type: ignore[union-attr]
    for lanes in _powers(gcd(length, block or length)):
        yield {"lanes": lanes}


@register_options(AttentionScores, AttentionValues)
def _attention_choices(operation: AttentionScores | AttentionValues) -> Iterator[Sizes]:
    codes = operation.query if isinstance(operation, AttentionScores) else operation.value
    for lanes in _powers(codes.block, codes.block):
        yield {"lanes": lanes}


def _powers(length: int, most: int = MOST_LANES) -> list[int]:
    """Return the powers of two up to ``most`` that divide a length."""
    return [1 << n for n in range(int(np.log2(most)) + 1) if length % (1 << n) == 0]
