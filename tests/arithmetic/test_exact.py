"""Exact products: equal to Python integers on every path, at and beyond the limits of each number type."""

import numpy as np
import pytest
import torch

from mxhw.arithmetic.exact import Limbs, Operand, multiply, operand, power_of_two
from mxhw.errors import InputError
from mxhw.formats import IntegerForm


def integer_operand(matrix: np.ndarray) -> Operand:
    rows = torch.zeros(matrix.shape[:-1], dtype=torch.int64)
    largest = int(np.abs(matrix).max())
    return Operand(torch.tensor(matrix, dtype=torch.float64), largest, rows, rows.double() + 1)


def as_objects(product: torch.Tensor | Limbs) -> np.ndarray:
    limbs = product if isinstance(product, Limbs) else Limbs.of(product.to(torch.int64))
    return limbs.objects()


def oracle(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The product in Python integers."""
    return x.astype(object) @ w.astype(object).T


@pytest.mark.parametrize("bits", [4, 7, 12, 20, 24, 30, 39])
@pytest.mark.parametrize("k", [1, 33, 300])
def test_products_equal_python_integers(bits, k):
    rng = np.random.default_rng(bits * k)
    x, w = (rng.integers(-(2**bits) + 1, 2**bits, (rows, k)) for rows in (3, 4))
    x[0], w[0] = 2**bits - 1, 2**bits - 1
    x[1] = -x[0]
    assert (as_objects(multiply(integer_operand(x), integer_operand(w))) == oracle(x, w)).all()


def test_long_sums_of_the_largest_limbs_equal_python_integers():
    x = np.full((1, 20_000), 2**40 - 1)
    assert as_objects(multiply(integer_operand(x), integer_operand(-x)))[0, 0] == -20_000 * (2**40 - 1) ** 2


def test_a_product_beyond_the_limit_of_a_type_is_not_computed_in_it():
    x = np.full((1, 1041), 127)
    assert multiply(integer_operand(x[:, :1040]), integer_operand(x[:, :1040])).dtype == torch.float32
    assert multiply(integer_operand(x), integer_operand(x)).dtype == torch.float64
    assert isinstance(multiply(integer_operand(x << 24), integer_operand(x << 20)), Limbs)


def test_reduced_matmul_precision_is_never_used():
    x = integer_operand(np.full((2, 16), 127))
    torch.set_float32_matmul_precision("medium")
    try:
        assert multiply(x, x).dtype == torch.float64
    finally:
        torch.set_float32_matmul_precision("highest")


def test_limbs_add_shift_and_convert_like_python_integers():
    rng = np.random.default_rng(1)
    values = rng.integers(-(2**52), 2**52, 200)
    total = Limbs.of(torch.tensor(values))
    expected = values.astype(object)
    for shift in (0, 7, 31, 32, 40):
        more = rng.integers(-(2**22), 2**22, 200)
        total, expected = total.add(torch.tensor(more), shift), expected + more.astype(object) * 2**shift
    assert (total.objects() == expected).all()
    amount = torch.arange(200) % 23
    shifted = total.shift(amount)
    wanted = [int(v) << int(a) for v, a in zip(expected, amount, strict=True)]
    assert shifted.objects().tolist() == wanted
    assert shifted.float64().tolist() == [float(v) for v in wanted]


def test_an_accumulator_beyond_64_bits_is_refused_as_int64():
    edge = Limbs.of(torch.tensor([2**62, -(2**62)]))
    assert edge.shift(torch.tensor([0, 1])).int64().tolist() == [2**62, -(2**63)]
    with pytest.raises(InputError, match="exceeds 64 bits"):
        edge.shift(torch.tensor([1, 1])).int64()


def test_powers_of_two_are_exact():
    exponents = torch.arange(-1022, 1024)
    assert power_of_two(exponents).tolist() == [2.0**e for e in range(-1022, 1024)]


def test_zero_blocks_do_not_widen_the_span_of_exponents():
    values = torch.tensor([[[0, 0], [3, -1]]], dtype=torch.int32)
    form = IntegerForm(values, torch.ones(1, 2, dtype=torch.int32), torch.tensor([[-120, 5]]), torch.ones(1))
    ready = operand(form)
    assert ready.largest == 3 and ready.exponent.tolist() == [5]


def test_a_row_whose_exponents_span_too_far_is_refused():
    values = torch.ones(1, 2, 2, dtype=torch.int32)
    form = IntegerForm(values, torch.ones(1, 2, dtype=torch.int32), torch.tensor([[-60, 5]]), torch.ones(1))
    with pytest.raises(InputError, match="span 65 bits"):
        operand(form)
