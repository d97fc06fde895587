"""Cycles of a systolic array with stationary weights, the machine of other simulators, for comparisons with ours.

Nothing here is built by mxhw. SCALE-Sim [ISPASS 2020, "A Systematic Methodology for Characterizing Scalability of DNN
Accelerators using SCALE-Sim", section III] counts for a fold of an array of R rows and C columns ``2 R + C + T - 2``
cycles: R to put the weights in place, then T vectors that reach a row a cycle after the row before, as they do columns.
"""

from mxhw.hardware.gemm.numbers import Numbers, ceil_divide

__all__ = ["weight_stationary_cycles"]


def weight_stationary_cycles(m: Numbers, n: Numbers, k: Numbers, rows: Numbers, columns: Numbers) -> Numbers:
    """Return the cycles of y[m, n] = x[m, k] w[k, n] on ``rows`` (of k) by ``columns`` (of n) multipliers.

    Folds follow each other without overlap: ``ceil(k / R) ceil(n / C) (m + 2 R + C - 2)``.
    """
    return ceil_divide(k, rows) * ceil_divide(n, columns) * (m + 2 * rows + columns - 2)
