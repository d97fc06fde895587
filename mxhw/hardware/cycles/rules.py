"""What cycles of a unit are: a rule, one a class of records, from the beats that come to those that leave.

A rule is all that a unit of one's own needs beside its record:

    @register_cycles(Tanh, elements=lambda unit: (unit.length,))
    def tanh(unit: Tanh, arrivals: Sequence[Arrival], run: Run) -> Stream:
        return accept(arrivals).later(unit.latency)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mxhw.errors import InputError
from mxhw.hardware.cycles.streams import Arrivals, Beats, IntArray, Rows
from mxhw.hardware.structure import Unit

__all__ = [
    "INDEX",
    "SCORES",
    "Arrival",
    "Elements",
    "Rule",
    "Run",
    "Stream",
    "elements_of",
    "register_cycles",
    "rule_of",
]

Stream = Beats | Rows
Arrival = Arrivals | Rows

INDEX = 0
"""Elements of an input of numbers, one a token."""

SCORES = -1
"""Elements of an input of a beat a key and head."""


@dataclass(frozen=True, eq=False)
class Run:
    """Tokens that pass a design.

    Attributes
    ----------
    positions : of each token in its sequence [tokens]; one that is no higher than the one before starts a sequence.
    """

    positions: IntArray

    @property
    def tokens(self) -> int:
        """How many there are."""
        return len(self.positions)

    @cached_property
    def restarts(self) -> IntArray:
        """Tokens, but for the first, that start a sequence."""
        return np.flatnonzero(self.positions[1:] <= self.positions[:-1]) + 1


Rule = Callable[[Any, Any, Run], Stream]
Elements = Callable[[Any], tuple[int, ...]]
_RULES: dict[type[Unit], tuple[Rule, Elements]] = {}


def register_cycles(*kinds: type[Unit], elements: Elements) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the rule of classes of records, and of classes derived from them.

    ``elements`` gives the elements of a token at each input of a unit; :data:`INDEX` for a number.
    """

    def register(rule: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = rule, elements
        return rule

    return register


def rule_of(unit: Unit) -> Rule:
    """Return the rule of a unit; InputError if its class has none."""
    return _registered(unit)[0]


def elements_of(unit: Unit) -> tuple[int, ...]:
    """Return the elements of a token at each input of a unit: :data:`INDEX`, :data:`SCORES`, or those of a vector."""
    return _registered(unit)[1](unit)


def _registered(unit: Unit) -> tuple[Rule, Elements]:
    for kind in type(unit).__mro__:
        if kind in _RULES:
            return _RULES[kind]
    raise InputError(
        f"the cycles of a unit {type(unit).__name__} are not known; a rule for it is registered with "
        "mxhw.hardware.cycles.register_cycles"
    )
