"""Units and work to draw tests from."""

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from mxhw.hardware import GemmBatch, GemmUnit, GemmWork

BITMOD4 = GemmUnit("bitmod", "fp4", 2, 4, 4, 8, 128, 10, 0, 28)
INT8 = GemmUnit("bitmod", "int8", 4, 4, 8, 8, 4, 0, 0, 24)
DIALECT = GemmUnit("dialect", "dialect4", 1, 4, 4, 4, 32, 9, 9, 48)
UNITS = (BITMOD4, INT8, DIALECT)

works = st.builds(
    GemmWork, st.integers(1, 600), st.integers(1, 300), st.integers(1, 600), st.integers(1, 8), st.booleans()
)
units = st.sampled_from(UNITS).flatmap(
    lambda unit: st.integers(20, 60).map(lambda bits: replace(unit, accumulator_bits=bits))
)
powers = st.integers(0, 6).map(lambda e: 2**e)


def batch_of(unit: GemmUnit, work: GemmWork) -> GemmBatch:
    return GemmBatch([unit], [work])


def column(*values: int) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)[None, :]
