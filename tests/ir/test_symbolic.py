"""Size expressions: what is arithmetic of b, s and p is computed, everything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.ir import Symbolic, size_at
from mxhw.ir.symbolic import size_from_json, size_from_torch, size_to_json

expressions = st.recursive(
    st.one_of(st.integers(0, 99).map(str), st.sampled_from("bsp"), st.just("Min(p, 7)")),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]}{t[1]}{t[2]})"),
    max_leaves=12,
)


@given(expressions, st.integers(1, 9), st.integers(1, 99), st.integers(0, 99))
def test_value_is_pythons(text: str, b: int, s: int, p: int) -> None:
    assert Symbolic(text).at(b, s, p) == eval(text, {"b": b, "s": s, "p": p, "Min": min})


def test_past_is_none_unless_told() -> None:
    size = Symbolic("b*(s + Min(p, 7))")
    assert [size_at(size, 2, 3), size_at(size, 2, 3, 5), size_at(size, 2, 3, past=50)] == [6, 16, 20]


@given(expressions)
def test_json_both_ways(text: str) -> None:
    assert size_from_json(size_to_json(Symbolic(text))) == Symbolic(text)


def test_powers_and_floor_division() -> None:
    assert Symbolic("64*b*s**2 + s//3").at(2, 10) == 64 * 2 * 100 + 3
    assert size_at(7, 1, 1) == 7


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "b.real",
        "s[0]",
        "b if s else 1",
        "x",
        "1.5",
        "True",
        "b**s",
        "b**9",
        "b/s",
        "lambda: 1",
        "Min(p)",
        "Min(p, 1, 2)",
        "Min(p, x)",
        "Min(p, key=s)",
        "Max(p, 1)",
        "min(p, 1)",
        "b.Min(p, 1)",
        "b,s",
        "b = 1",
        "",
        "1" * 2000,
        "(" * 300 + "b" + ")" * 300,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^size expression "):
        Symbolic(text)


@pytest.mark.parametrize("value", [1.5, None, True, [1], {}])
def test_json_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"^size must be an integer or an expression"):
        size_from_json(value)


def test_division_by_zero_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"divides by zero"):
        Symbolic("b//(s-1)").at(1, 1)


def test_sympy_functions_outside_the_language_are_refused() -> None:
    import sympy

    symbol = sympy.Symbol("s7")
    assert size_from_torch(symbol * 3, {symbol: "s"}) == Symbolic("3*s")
    with pytest.raises(InputError, match=r"^size expression "):
        size_from_torch(sympy.Mod(symbol, 2), {symbol: "s"})
