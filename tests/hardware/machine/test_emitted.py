"""Emitted language models take the cycles that a machine of their records predicts."""

from dataclasses import replace
from functools import cache

import pytest

from bench.validation.machine import Case, Row, rows

WITHIN = 0.02
THREE = (("num_hidden_layers", 3),)
CASES = [
    Case(changes=THREE, chunk=1, prompt=6),
    Case(changes=THREE, chunk=1, prompt=6, port=128),
    Case(changes=THREE, chunk=8, prompt=6, port=32),
]


@cache
def found(case: Case) -> tuple[Row, ...]:
    return tuple(rows([case]))


@pytest.mark.parametrize("case", [CASES[0], *(pytest.param(case, marks=pytest.mark.slow) for case in CASES[1:])])
def test_prefill_and_decoding_are_as_predicted(case: Case) -> None:
    prefill, decode = found(case)
    for row in (prefill, decode):
        assert abs(row.error) <= (0.005 if case.port is None else WITHIN), row


@pytest.mark.slow
def test_a_port_of_another_width_would_not_pass() -> None:
    """The prediction for 128 bits is wrong for a design of 32."""
    (_, wide), (_, narrow) = found(CASES[1]), found(CASES[2])
    assert abs(replace(narrow, predicted=wide.predicted).error) > 10 * WITHIN
