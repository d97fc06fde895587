"""Costs of units that add up: what a linear program needs to choose formats under a budget.

    resource → [unit][candidate], and what all assignments take

A unit's cost is what a design takes more than with the unit's cheapest candidate, all other units left as they are.
At a given pace (cycles a token of the slowest step) that is nearly all there is: each step takes its smallest size that
keeps to the pace, whatever the others take. What does not add up:

- Nodes that read one stream share its encoder if they read it in one format. Inputs of such nodes that are chosen
  apart cost another encoder each; put them into one unit, and their costs are exact.
- The least size of a step is that of the smallest share of the budget; with several resources (FPGA) it does not depend
  on other steps either.
- What stands between two steps depends on both, but at smallest sizes only on what a format has of beats (code and
  metadata bits), and so on the sites of the reading node alone.

With a node, or all readers of a stream, in one unit, sums are those of the whole design up to rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from mxhw.errors import InputError

__all__ = ["AdditiveCosts", "additive_costs"]

Need = Callable[[Mapping[str, str]], Mapping[str, float] | None]


@dataclass(frozen=True)
class AdditiveCosts:
    """Costs that add up.

    Attributes
    ----------
    costs : resource → what each candidate of each unit takes [unit][candidate], 0 or more; infinite if it cannot keep
        to the pace.
    fixed : resource → what every assignment takes.
    """

    costs: Mapping[str, Sequence[Sequence[float]]]
    fixed: Mapping[str, float]

    def total(self, choice: Sequence[int]) -> dict[str, float]:
        """Return the resources of an assignment: of each unit the number of its candidate."""
        return {
            name: self.fixed[name] + sum(row[index] for row, index in zip(rows, choice, strict=True))
            for name, rows in self.costs.items()
        }


def additive_costs(
    need: Need, choices: Sequence[Sequence[Mapping[str, str]]], formats: Mapping[str, str], pace: float
) -> AdditiveCosts:
    """Return the costs of units; see :meth:`mxhw.passes.analysis.hardware.HardwareCosts.additive`.

    ``need`` gives what a design of formats takes, None if it cannot keep to the pace. It is asked once a candidate.
    """
    base = _base(need, choices, formats, pace)
    reference = need(base)
    assert reference is not None
    costs: dict[str, list[list[float]]] = {name: [] for name in reference}
    fixed = dict(reference)
    for candidates in choices:
        found = [need({**base, **each}) for each in candidates]
        for name, amount in reference.items():
            more = [inf if each is None else each[name] - amount for each in found]
            least = min(more)
            costs[name].append([each - least for each in more])
            fixed[name] += least
    return AdditiveCosts(costs, fixed)


def _base(
    need: Need, choices: Sequence[Sequence[Mapping[str, str]]], formats: Mapping[str, str], pace: float
) -> dict[str, str]:
    """Return formats that keep to the pace: those given, or with candidates that do, unit by unit."""
    base = dict(formats)
    for candidates in choices:
        base |= candidates[0]
    if need(base) is not None:
        return base
    for number in range(1, max((len(candidates) for candidates in choices), default=0)):
        base = dict(formats)
        for candidates in choices:
            base |= candidates[min(number, len(candidates) - 1)]
        if need(base) is not None:
            return base
    raise InputError(
        f"no formats keep to {pace:,.6g} cycles a token: even the largest units are slower; allow more cycles, or give "
        "arrays more rows"
    )
