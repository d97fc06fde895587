"""The cost of a whole model on a platform: structure, sizes, placement of memories, prefill and decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import product
from typing import get_args

from mxhw.errors import InputError
from mxhw.hardware.machine import DEFAULT_CHUNK, Machine, MachineCost, Placement, machine_of
from mxhw.hardware.platform import Platform
from mxhw.hardware.sizing import Objective, lanes_in_blocks, sized_model, sizes_of, with_sizes
from mxhw.hardware.structure import ModelDesign, Product
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis.structure import Choices, Structurer

__all__ = ["ROWS", "CostSettings", "ModelCost", "cost_model"]

ROWS = (1, 2, 4, 8, 16, 32)
"""Tokens that arrays may compute at once, where nothing is said: the quickest is taken."""
MOST_COLUMNS = 1024
_LESS = 0.93  # of the budget, once more, for what a design needs beside its units
_TRIES = 12


@dataclass(frozen=True, kw_only=True)
class CostSettings:
    """What is asked.

    Attributes
    ----------
    prefill, decode, batch : tokens of a prompt, generated behind it, and prompts at a time.
    rows : tokens that arrays compute at once; None: the quickest of :data:`ROWS`.
    chunk : tokens that go through a layer before the next layer is used.
    folded : equal layers share one physical block.
    port : bits of a beat of memory outside; None: those that load a layer in the fewest cycles.
    place : what is to lie where, see :mod:`mxhw.hardware.machine.placement`.
    share : of the platform's budget that may be used.
    """

    prefill: int = 512
    decode: int = 64
    batch: int = 1
    rows: int | None = None
    chunk: int | None = None
    folded: bool = True
    port: int | None = None
    place: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0


@dataclass(frozen=True)
class ModelCost:
    """The cost of a model.

    Attributes
    ----------
    machine : the design, on its platform.
    cost : of the run that was asked for.
    rows : tokens that its arrays compute at once.
    without : nodes that work and that nothing is charged for.
    """

    machine: Machine
    cost: MachineCost
    rows: int
    without: tuple[str, ...]


def cost_model(graph: Graph, assignment: Assignment, platform: Platform, settings: CostSettings) -> ModelCost:
    """Return what a model costs; sizes are the assignment's, or where it has no arrays, those that fit the platform.

    Raises
    ------
    InputError
        If a node has no hardware for its formats, a size or number is impossible, or the model does not fit.
    """
    assignment.check(graph)
    keys = settings.prefill + settings.decode
    choices = Choices(formats=assignment.formats, keys=max(1, keys), banks=settings.batch)
    structure = Structurer(graph, folded=settings.folded).structure(choices)
    if assignment.arrays:
        model = with_sizes(structure.design, assignment.arrays, lanes_in_blocks(structure.design, assignment.lanes))
        machine = _machine(model, platform, settings, settings.place)
        return _cost(machine, settings, structure.without)
    tried: list[ModelCost] = []
    refused: InputError | None = None
    choices_of_rows = ROWS if settings.rows is None else (settings.rows,)
    for rows, objective in product(choices_of_rows, get_args(Objective)):
        try:
            machine = _sized(with_sizes(structure.design, {}, {}, rows=rows), platform, settings, objective)
        except InputError as error:
            refused = refused or error
            continue
        tried.append(_cost(machine, settings, structure.without))
    if not tried:
        assert refused is not None
        raise refused
    return min(tried, key=lambda each: each.cost.prefill.seconds + each.cost.decode.seconds)


def _cost(machine: Machine, settings: CostSettings, without: tuple[str, ...]) -> ModelCost:
    found = machine.cost(prefill=settings.prefill, decode=settings.decode, batch=settings.batch)
    return ModelCost(machine, found, _most_rows(machine.model), without)


def _machine(model: ModelDesign, platform: Platform, settings: CostSettings, place: Mapping[str, str]) -> Machine:
    chunk = settings.chunk if settings.chunk is not None else max(DEFAULT_CHUNK, _most_rows(model))
    return machine_of(model, platform, chunk=chunk, port=settings.port, place=place)


def _most_rows(model: ModelDesign) -> int:
    return max((step.unit.rows for _, step in model.steps() if isinstance(step.unit, Product)), default=1)


def _sized(model: ModelDesign, platform: Platform, settings: CostSettings, objective: Objective) -> Machine:
    """Return the machine with the largest sizes that fit, its memories where the smallest sizes let them lie."""
    smallest = _machine(model, platform, settings, settings.place)
    place = {each.name: getattr(smallest.placement, each.name) for each in fields(Placement)}
    position = max(0, (settings.prefill + settings.decode) // 2 - 1)
    share = settings.share
    for _ in range(_TRIES):
        try:
            sized = sized_model(
                smallest.model,
                platform,
                position=position,
                share=share,
                least=_least(smallest, settings.port),
                objective=objective,
                most_columns=MOST_COLUMNS,
            )
            arrays, lanes = sizes_of(sized.design)
            return _machine(with_sizes(model, arrays, lanes), platform, settings, place)
        except InputError:
            share *= _LESS
    return smallest


def _least(machine: Machine, given: int | None) -> float:
    """Return the cycles a token for which memory outside, or a port of the ``given`` width, is needed anyway."""
    if machine.port is None or machine.placement.weights == "inside":
        return 0.0
    rate = machine.port.bandwidth if given is None else machine.port.rate
    bits = 0.0
    for use in machine.model.blocks:
        for step in use.design.steps.values():
            if isinstance(step.unit, Product):
                served = step.unit.rows if step.unit.storage == "tiles" else machine.chunk
                bits += len(use.layers) * step.unit.weight_bits * step.unit.active_experts / served
    return bits / rate
