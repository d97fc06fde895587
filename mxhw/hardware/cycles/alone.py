"""Cycles of a unit alone: its inputs are always there, its output is always taken."""

import numpy as np

from mxhw.errors import InputError
from mxhw.hardware.cycles.rules import INDEX, SCORES, Arrival, Run, elements_of, rule_of
from mxhw.hardware.cycles.streams import Arrivals, IntArray, Rows, Start, steady
from mxhw.hardware.structure import AttentionUnit, SoftmaxWeights, Unit, rows_of

__all__ = ["unit_cycles", "unit_interval"]

_TRIAL = 6  # row tiles after which a unit alone is in its steady state


def unit_cycles(unit: Unit, tokens: int, start: int = 0) -> int:
    """Return the cycles of a unit alone, from the first beat in to the last beat out, both counted.

    Parameters
    ----------
    unit : what runs, without queues in front of it.
    tokens : of one sequence; a multiple of the rows of a product.
    start : position of the first one.
    """
    if tokens == 0:
        return 0
    rows = rows_of(unit)
    if tokens < 0 or tokens % rows:
        raise InputError(f"a unit of {rows} rows takes a multiple of {rows} tokens, not {tokens!r}")
    if start < 0:
        raise InputError(f"the first token of a run must have a position of 0 or more, not {start!r}")
    return int(_ends(unit, np.arange(start, start + tokens, dtype=np.int64)).max()) + 1


def unit_interval(unit: Unit, position: int = 0) -> float:
    """Return the cycles a token of a unit alone once it is in its steady state.

    Where they depend on positions: those of the tokens up to the one at ``position``, after which a sequence starts.
    """
    rows = rows_of(unit)
    count = _TRIAL * rows
    positions = np.full(count, max(position, 0), dtype=np.int64)
    if isinstance(unit, AttentionUnit | SoftmaxWeights) or INDEX in elements_of(unit):
        positions = np.arange(position + 1 - count, position + 1, dtype=np.int64) % (position + 1)
    ends = _ends(unit, positions)[rows - 1 :: rows]
    return float(ends[-1] - ends[-3]) / (2 * rows)


def _ends(unit: Unit, positions: IntArray) -> IntArray:
    """Return the cycle of the last beat of each token, the first beat in being cycle 0 [tokens]."""
    run = Run(positions)
    arrivals = [_present(unit, elements, run) for elements in elements_of(unit)]
    return rule_of(unit)(unit, arrivals, run).last


def _present(unit: Unit, elements: int, run: Run) -> Arrival:
    """Return the beats of an input that are there from the first cycle on."""
    nothing = np.zeros(run.tokens, dtype=np.int64)
    if elements == SCORES:
        assert isinstance(unit, AttentionUnit | SoftmaxWeights)
        keys = np.minimum(run.positions + 1, unit.most)
        if isinstance(unit, AttentionUnit):
            return Rows(nothing, nothing, keys, 0, unit.heads)
        before = np.cumsum(unit.heads * keys) - unit.heads * keys
        return Rows(before, keys, keys, 1, unit.heads)
    lanes = int(getattr(unit, "lanes", 1))
    beats = 1 if elements == INDEX else elements // lanes
    paces = steady(beats)
    return Arrivals((Start(nothing),), (paces.elapsed,), paces, lanes)
