"""HiGHS behind `scipy.optimize`, on the candidates that are left, with a clean standard output.

Source: Huangfu and Hall, Parallelizing the dual revised simplex method, Mathematical Programming Computation 10, 2018.
Rows and the objective are scaled, because its tolerances are absolute: 1e-6 on rows, on integers, and on the gap.
"""

import contextlib
import ctypes
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mxhw.passes.search.allocate.problem import AllocationProblem, Floats, Indices
from mxhw.passes.search.allocate.reduce import Row

__all__ = ["Cut", "Model", "Solved", "clean_stdout"]

ROW_SCALE = 1e3  # greatest coefficient of a budget's row
OBJECTIVE_SCALE = 1e4  # what the incumbent's loss above each unit's least is scaled to: HiGHS' gap of 1e-6 is 1e-10
_NOISE = b"HighsMipSolverData::"  # HiGHS 1.8 to 1.12 says this line by printf, whatever its options
_stdout = Lock()

Cut = tuple[NDArray[np.bool_], int]  # of these candidates at most so many may be taken


@dataclass(frozen=True)
class Solved:
    """What HiGHS returned: `choice` is None if it found none; `bound` is a lower bound on the loss."""

    infeasible: bool
    choice: Indices | None
    bound: float


@contextlib.contextmanager
def clean_stdout() -> Iterator[None]:
    """Keep what HiGHS prints at the level of C off standard output; what others write meanwhile is passed on."""
    with _stdout, contextlib.ExitStack() as stack:
        try:
            saved = os.dup(1)
        except OSError:  # there is no standard output
            yield
            return
        stack.callback(os.close, saved)
        held = stack.enter_context(tempfile.TemporaryFile())
        _flush()
        os.dup2(held.fileno(), 1)
        try:
            yield
        finally:
            _flush()
            os.dup2(saved, 1)
            held.seek(0)
            kept = b"".join(line for line in held if not line.startswith(_NOISE))
            while kept:
                kept = kept[os.write(1, kept) :]


def _flush() -> None:
    with contextlib.suppress(OSError, AttributeError):  # a C library that cannot be named: its noise stays
        ctypes.CDLL(None).fflush(None)


class Model:
    """Binary variables of the kept candidates of units that have a choice; each unit takes one."""

    def __init__(self, problem: AllocationProblem, keep: NDArray[np.bool_], budgets: Mapping[str, Row]) -> None:
        from scipy import sparse

        self._keep = keep
        self._single = keep.argmax(axis=1)
        free = keep & (keep.sum(axis=1) > 1)[:, None]
        self.unit, self.candidate = np.nonzero(free)
        least = np.where(keep, problem.loss_table, math.inf).min(axis=1)
        self.base = math.fsum(least.tolist())
        self.loss = (problem.loss_table - least[:, None])[free]
        numbers, index = np.unique(self.unit, return_inverse=True)
        size = len(self.unit)
        self.one = sparse.csr_array((np.ones(size), (index, np.arange(size))), shape=(len(numbers), size))
        self.budgets = {r: (row.more[free], row.room) for r, row in budgets.items()}

    def relax(self) -> tuple[Floats, dict[str, float]] | None:
        """Return the linear relaxation's optimum (`[units, candidates]`) and its multipliers, or None if infeasible."""
        from scipy.optimize import linprog

        rows, ends, scales = self._rows()
        loss_scale = float(self.loss.max(initial=0.0)) or 1.0
        if not len(self.unit):
            return self._table(np.empty(0)), dict.fromkeys(self.budgets, 0.0)
        with clean_stdout():
            found = linprog(
                self.loss / loss_scale,
                A_ub=np.stack(rows) if rows else None,
                b_ub=ends if rows else None,
                A_eq=self.one,
                b_eq=np.ones(self.one.shape[0]),
                bounds=(0, 1),
                method="highs",
            )
        if found.status == 2:
            return None
        if found.x is None:  # numerical trouble: any point will do, and zero multipliers are valid ones
            first = np.zeros(len(self.unit))
            first[np.unique(self.unit, return_index=True)[1]] = 1.0
            return self._table(first), dict.fromkeys(self.budgets, 0.0)
        marginals = found.ineqlin.marginals if rows else []
        multipliers = {
            resource: max(0.0, -float(m)) * loss_scale * scale
            for resource, m, scale in zip(self.budgets, marginals, scales, strict=True)
        }
        return self._table(found.x), multipliers

    def solve(
        self, incumbent: float | None, gap: float, seconds: float | None, cuts: Sequence[Cut], nodes: int | None = None
    ) -> Solved:
        """Search for the assignment of least loss.

        `gap` is an absolute difference of losses; `incumbent` the loss of a known assignment; `nodes` a limit.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        if not len(self.unit):
            return Solved(False, self._single, self.base)
        above = (float(self.loss.max(initial=0.0)) if incumbent is None else incumbent - self.base) or 1.0
        scale = OBJECTIVE_SCALE / above
        rows, ends, _ = self._rows()
        for cut, most in cuts:
            rows.append(cut[self.unit, self.candidate].astype(float))
            ends.append(float(most))
        constraints = [LinearConstraint(self.one, 1, 1)]
        if rows:
            constraints.append(LinearConstraint(np.stack(rows), -np.inf, ends))
        options: dict[str, Any] = {"mip_rel_gap": gap / above, "disp": False, "presolve": True}
        if nodes is not None:
            options["node_limit"] = nodes
        if seconds is not None:
            options["time_limit"] = max(seconds, 1e-3)
        with clean_stdout():
            found = milp(
                self.loss * scale,
                integrality=np.ones(len(self.loss)),
                bounds=Bounds(0, 1),
                constraints=constraints,
                options=options,
            )
        if found.status == 2:
            return Solved(True, None, math.inf)
        bound = found.mip_dual_bound
        lower = self.base + max(0.0, float(bound)) / scale if bound is not None and math.isfinite(bound) else self.base
        choice = None if found.x is None else self._table(found.x).argmax(axis=1)
        return Solved(False, choice, lower)

    def _rows(self) -> tuple[list[Floats], list[float], list[float]]:
        scales = [ROW_SCALE / (float(more.max(initial=0.0)) or 1.0) for more, _ in self.budgets.values()]
        scaled = zip(self.budgets.values(), scales, strict=True)
        pairs = [(more * scale, room * scale) for (more, room), scale in scaled]
        return [more for more, _ in pairs], [room for _, room in pairs], scales

    def _table(self, x: Floats) -> Floats:
        table = np.zeros(self._keep.shape)
        table[np.arange(len(table)), self._single] = 1.0
        table[self.unit] = 0.0
        table[self.unit, self.candidate] = x
        return table
