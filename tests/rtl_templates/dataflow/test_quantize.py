"""The quantizer of streams equals its operation bit for bit, with padding, under any stalls."""

from dataclasses import replace
from typing import Any

import pytest

from mxhw.arithmetic.dataflow import BlockCodes, Integers, Quantize
from mxhw.errors import InputError
from mxhw.rtl_templates.dataflow import QuantizeUnit
from mxhw.rtl_templates.dataflow import quantize as quantize_module
from mxhw.rtl_templates.dataflow.padding import Padding
from mxhw.sim import StreamError
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.dataflow.streams import code_beats, integer_beats, mantissas


def operation(kind: Any, length: int, block: int, bits: int) -> Quantize:
    codes = BlockCodes(kind=kind, length=length, block=block, bits=bits, exponent=-20)
    return Quantize(x=Integers(length=length, bits=16, exponent=-12), y=codes)


CASES = {
    "int8": (operation("integer", 20, 20, 8), 4),
    "int6_heads": (operation("integer", 24, 8, 6), 4),
    "int4_padded": (operation("integer", 20, 16, 4), 4),
    "int8_beat": (operation("integer", 6, 6, 8), 6),
    "int2_element": (operation("integer", 5, 1, 2), 1),
    "dialect": (operation("dialect", 64, 32, 4), 2),
    "dialect_padded": (operation("dialect", 40, 16, 4), 4),
    "dialect_short": (operation("dialect", 8, 32, 4), 1),
}
TOKENS = 60


def unit(name: str) -> QuantizeUnit:
    quantize, lanes = CASES[name]
    return QuantizeUnit(x=quantize.x, y=quantize.y, lanes=lanes)


def without_zeros(**options: Any) -> Padding:
    return Padding(**options | {"zeros": 0})


def one_higher(bits: int) -> range:
    return range(-125 + bits - 2, 113)


@pytest.fixture(scope="module")
def bench():
    return Bench(
        {name: unit(name) for name in CASES}
        | {
            "without_zeros": damaged(unit("int4_padded"), quantize_module, Padding=without_zeros),
            "wrong_exponent": damaged(unit("int8"), quantize_module, integer_exponents=one_higher),
        }
    )


def both(name, seed, tokens=TOKENS):
    """Beats of x, and of y as they should be."""
    quantize, lanes = CASES[name]
    drawn = mantissas(tokens, quantize.x.length, seed)
    return integer_beats(drawn, 16, lanes), code_beats(quantize.y, quantize.run(drawn), lanes)


def test_verilator_has_no_complaint(bench):
    assert bench.complaints() == ""


@pytest.mark.parametrize("stall,seed", [(0.0, 0), (0.3, 1), (0.6, 2)])
@pytest.mark.parametrize("name", CASES)
def test_codes_are_those_of_the_operation_in_the_predicted_cycles(bench, name, stall, seed):
    x, y = both(name, seed)
    run = bench.run(name, {"x": x}, len(y), stall=stall, seed=seed)
    assert run.ints("y") == y
    unit = bench.units[name]
    assert stall or run.cycles == TOKENS * unit.interval + unit.latency


def test_zeros_that_are_forgotten_are_caught(bench):
    x, y = both("int4_padded", 0)
    with pytest.raises(StreamError, match="no beat moved"):
        bench.run("without_zeros", {"x": x}, len(y))


def test_a_wrong_exponent_is_caught_in_all_tokens_but_that_of_zeros(bench):
    quantize, lanes = CASES["int8"]
    x, y = both("int8", 1)
    found, per_token = bench.y("wrong_exponent", {"x": x}, len(y)), quantize.y.padded // lanes
    drawn = mantissas(TOKENS, quantize.x.length, 1)[0]
    wrong = {i // per_token for i, (a, b) in enumerate(zip(found, y, strict=True)) if a != b}
    assert wrong == {token for token in range(TOKENS) if drawn[token].any()} != set(range(TOKENS))


def test_impossible_quantizers_are_refused():
    quantize = CASES["int4_padded"][0]
    for given, message in (
        ({"x": replace(quantize.x, bits=17)}, "bits of x must be 16, not 17"),
        ({"x": replace(quantize.x, length=24)}, "length of y must be that of x, 24, not 20"),
        ({"lanes": 3}, "lanes must be a divisor of the length of 20, not 3"),
        ({"lanes": 5}, "lanes must be a divisor of the block of 16, not 5"),
    ):
        with pytest.raises(InputError, match=message):
            QuantizeUnit(**{"x": quantize.x, "y": quantize.y, "lanes": 4} | given)
