"""The products of attention weights and values where their divisions hold them up.

A row's sums leave a pipeline that stands while there is no room for them, and are divided in ``ratio`` parts each. With
fewer keys than parts, as the first tokens of a sequence have, divisions take longer than products. Where such tokens
follow each other at once, their steps are late, and so are those of the tokens after them: this is walked through, sum
by sum, until products are slower again.
"""

from dataclasses import dataclass, field

import numpy as np

from mxhw.hardware.cycles.streams import IntArray

__all__ = ["Division", "Products", "walk"]


@dataclass(frozen=True)
class Division:
    """Sizes.

    Attributes
    ----------
    heads, words : of a token; words of a head.
    ratio : parts of a sum, divided one a cycle.
    waiting : sums that wait for their division.
    stages : cycles from the step of a row's last key to its sum.
    latency : cycles from the sum to its first part.
    """

    heads: int
    words: int
    ratio: int
    waiting: int
    stages: int
    latency: int


@dataclass(frozen=True, eq=False)
class Products:
    """What is known of the tokens, each [tokens].

    Attributes
    ----------
    ready : first cycle in which a token can start, were those before it done.
    storing : cycles from a start to the next one, at least.
    keys : of a row.
    first, period : when the first weight of the first row comes, and cycles to those of the next row.
    restarts : tokens that start a sequence, and are stored when the token before is done.
    """

    ready: IntArray
    storing: int
    keys: IntArray
    first: IntArray
    period: IntArray
    restarts: frozenset[int]


@dataclass
class _Walk:
    """Where a walk is: the last step, and when sums left, were divided, and held up the steps."""

    sizes: Division
    step: int = -(1 << 40)
    division: int = -(1 << 40)
    divisions: list[int] = field(default_factory=list)
    begins: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def moves(self, time: int, cycles: int) -> int:
        """Return the cycle in which the pipeline has moved so many times after one in which it moved."""
        number = len(self.ends)
        while number and self.ends[number - 1] > time:
            number -= 1
        time += cycles
        while number < len(self.ends) and self.begins[number] <= time:
            time += self.ends[number] - self.begins[number]
            number += 1
        return time

    def stands_until(self, time: int) -> int:
        """Return the first cycle from one on in which the pipeline moves."""
        for begins, ends in zip(reversed(self.begins), reversed(self.ends), strict=True):
            if ends <= time:
                break
            if begins <= time:
                return ends
        return time

    def row(self, start: int, keys: int) -> tuple[int, bool]:
        """Take the steps of a row from a cycle on; return when its first sum left, and whether one waited."""
        sizes, left, stood = self.sizes, 0, False
        time = max(self.moves(self.step, 1), self.stands_until(start))
        for word in range(sizes.words):
            time = self.moves(time, (keys - 1) * sizes.words if word == 0 else 1)
            arrived = self.moves(time, sizes.stages)
            leaves = arrived
            if len(self.divisions) >= sizes.waiting:
                leaves = max(arrived, self.divisions[-sizes.waiting] + 1)
            if leaves > arrived:
                stood = True
                self.begins.append(arrived)
                self.ends.append(leaves)
            self.division = max(leaves + sizes.latency, self.division + sizes.ratio)
            self.divisions.append(self.division)
            left = leaves if word == 0 else left
        self.step = time
        return left, stood


def walk(sizes: Division, known: Products, until: int) -> tuple[IntArray, IntArray, int]:
    """Return when the first sum of the first and of the last row of tokens left, and when the token after them starts.

    Tokens are those up to ``until`` and all after it that are still held up.
    """
    at, firsts, lasts, start = _Walk(sizes), [], [], int(known.ready[0])
    for token in range(len(known.keys)):
        keys, weight, period = (int(each[token]) for each in (known.keys, known.first, known.period))
        held = False
        for head in range(sizes.heads):
            left, stood = at.row(max(start + 1, weight + head * period), keys)
            held |= stood
            if head == 0:
                firsts.append(left)
        lasts.append(left)
        if token + 1 < len(known.keys):
            before = at.step if token + 1 in known.restarts else start
            start = max(int(known.ready[token + 1]), at.step, before + known.storing)
        if token >= until and not held and at.division == left + (sizes.words - 1) * sizes.ratio + sizes.latency:
            break
        if len(at.ends) > 64:
            del at.begins[:-32], at.ends[:-32]
    return np.asarray(firsts, dtype=np.int64), np.asarray(lasts, dtype=np.int64), start
