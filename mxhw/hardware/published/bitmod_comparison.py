"""The BitMoD paper's totals beside the reproduced ones and those of the stricter model, and the means of both.

Means are those of the authors' notebooks. A speed-up over FP16 is the mean of six models' speed-ups, one over another
accelerator the ratio of two such means; a gain in energy is the ratio of two means of energy over FP16's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import mean
from typing import Literal

from mxhw.hardware.published.bitmod_accelerators import ACCELERATORS, FP16, Accelerator
from mxhw.hardware.published.bitmod_corrections import CORRECTIONS, Correction, applied_up_to
from mxhw.hardware.published.bitmod_figures import CYCLES, ENERGIES, ENERGY_GAINS, SPEED_UPS
from mxhw.hardware.published.bitmod_simulator import DECODE_STEPS, Cost, decode_cost, prefill_cost
from mxhw.hardware.published.bitmod_stricter import StricterCosts, stricter_costs
from mxhw.hardware.published.models import MODELS, ModelShape

__all__ = [
    "TASKS",
    "CorrectionRow",
    "EnergyRow",
    "MeanRow",
    "Task",
    "TotalRow",
    "accelerator_named",
    "correction_rows",
    "energy_rows",
    "mean_rows",
    "total_rows",
]

Task = Literal["prefill", "generative"]
TASKS: tuple[Task, ...] = ("prefill", "generative")
Costs = Callable[[ModelShape, Accelerator, Task], float]
_LAST = len(CORRECTIONS)


@dataclass(frozen=True)
class TotalRow:
    """Cycles of a model on an accelerator, in a phase ("prefill": 256 tokens; "decode": the next one)."""

    model: str
    phase: str
    accelerator: str
    published: int
    reproduced: int
    stricter: int

    @property
    def change(self) -> float:
        """Of the stricter model, relative to the published total."""
        return self.stricter / self.published - 1


@dataclass(frozen=True)
class EnergyRow:
    """Energies [uJ] of a model on an accelerator in a phase; ``*_chip`` without DRAM."""

    model: str
    phase: str
    accelerator: str
    published: int
    reproduced: float
    published_chip: int
    reproduced_chip: float
    stricter: float

    @property
    def dram_error(self) -> float:
        """Difference of DRAM's energy [uJ]."""
        return abs((self.reproduced - self.reproduced_chip) - (self.published - self.published_chip))

    @property
    def chip_error(self) -> float:
        """Difference of the energy on chip [uJ]."""
        return abs(self.reproduced_chip - self.published_chip)


@dataclass(frozen=True)
class MeanRow:
    """A mean over the six models: of speed-ups, or of gains in energy.

    ``task`` is "prefill" (the paper's discriminative one), "generative", or "both": the mean of both.
    """

    quantity: str
    accelerator: str
    over: str
    task: str
    published: float
    reproduced: float
    stricter: float


@dataclass(frozen=True)
class CorrectionRow:
    """A model with all corrections up to one; None: the paper's model.

    ``costs`` by accelerator; ``speed_ups`` and ``energy_gains`` by task and accelerators, as in :class:`MeanRow`.
    """

    correction: Correction | None
    costs: dict[str, StricterCosts]
    speed_ups: dict[tuple[str, str, Task], float]
    energy_gains: dict[tuple[str, str, Task], float]


def accelerator_named(name: str) -> Accelerator:
    """Return one of the five accelerators."""
    return next(each for each in ACCELERATORS if each.name == name)


def total_rows() -> list[TotalRow]:
    """Return all 60 totals that the paper plots."""
    return [
        TotalRow(
            model=model.name,
            phase=phase,
            accelerator=accelerator.name,
            published=CYCLES[accelerator.name][phase][index],
            reproduced=paper(model, accelerator).cycles,
            stricter=_phase(_stricter(index, accelerator.name, _LAST), phase).cycles,
        )
        for index, model in enumerate(MODELS)
        for phase, paper in (("prefill", prefill_cost), ("decode", decode_cost))
        for accelerator in ACCELERATORS
    ]


def energy_rows() -> list[EnergyRow]:
    """Return all 60 energies that the paper plots."""
    rows = []
    for index, model in enumerate(MODELS):
        for phase, paper in (("prefill", prefill_cost), ("decode", decode_cost)):
            for accelerator in ACCELERATORS:
                chip, energy = ENERGIES[accelerator.name][phase][index]
                cost = paper(model, accelerator)
                stricter = _phase(_stricter(index, accelerator.name, _LAST), phase).energy
                figures = (energy, cost.energy, chip, cost.chip_energy, stricter)
                rows.append(EnergyRow(model.name, phase, accelerator.name, *figures))
    return rows


def mean_rows() -> list[MeanRow]:
    """Return the means that the paper's text gives."""
    rows = []
    for name, over, *published in SPEED_UPS:
        for task, figure in zip(TASKS, published, strict=True):
            ours = [_speed_up(costs, name, over, task) for costs in (_published_cycles, _cycles(0), _cycles(_LAST))]
            rows.append(MeanRow("speed-up", name, over, task, figure, *ours[1:]))
    for name, over, figure in ENERGY_GAINS:
        both = [mean(_energy_gain(costs, name, over, task) for task in TASKS) for costs in (_energy(0), _energy(_LAST))]
        rows.append(MeanRow("energy", name, over, "both", figure, *both))
    return rows


def correction_rows(model: ModelShape) -> list[CorrectionRow]:
    """Return a model's costs, and the means of all, with no correction, one, two, and so on to all of them."""
    index = MODELS.index(model)
    rows = []
    for count in range(_LAST + 1):
        keys = [(name, over, task) for name, over, *_ in SPEED_UPS for task in TASKS]
        rows.append(
            CorrectionRow(
                correction=CORRECTIONS[count - 1] if count else None,
                costs={each.name: _stricter(index, each.name, count) for each in ACCELERATORS},
                speed_ups={key: _speed_up(_cycles(count), *key) for key in keys},
                energy_gains={key: _energy_gain(_energy(count), *key) for key in keys},
            )
        )
    return rows


@cache
def _stricter(index: int, accelerator: str, count: int) -> StricterCosts:
    """Return the costs of a model with the first corrections; each is asked for many times."""
    return stricter_costs(MODELS[index], accelerator_named(accelerator), applied_up_to(count))


def _phase(costs: StricterCosts, phase: str) -> Cost:
    return costs.prefill if phase == "prefill" else costs.decode


def _published_cycles(model: ModelShape, accelerator: Accelerator, task: Task) -> float:
    prefill, decode = (CYCLES[accelerator.name][phase][MODELS.index(model)] for phase in ("prefill", "decode"))
    return prefill + DECODE_STEPS * decode * (task == "generative")


def _task(model: ModelShape, accelerator: Accelerator, task: Task, count: int) -> Cost:
    costs = _stricter(MODELS.index(model), accelerator.name, count)
    return costs.prefill if task == "prefill" else costs.generative


def _cycles(count: int) -> Costs:
    return lambda model, accelerator, task: _task(model, accelerator, task, count).cycles


def _energy(count: int) -> Costs:
    return lambda model, accelerator, task: _task(model, accelerator, task, count).energy


def _speed_up(cycles: Costs, name: str, over: str, task: Task) -> float:
    def over_fp16(accelerator: Accelerator) -> float:
        return mean(cycles(model, FP16, task) / cycles(model, accelerator, task) for model in MODELS)

    return over_fp16(accelerator_named(name)) / over_fp16(accelerator_named(over))


def _energy_gain(energy: Costs, name: str, over: str, task: Task) -> float:
    def of_fp16(accelerator: Accelerator) -> float:
        return mean(energy(model, accelerator, task) / energy(model, FP16, task) for model in MODELS)

    return of_fp16(accelerator_named(over)) / of_fp16(accelerator_named(name))
