"""Integer graphs: steps fit together, or the error says which do not; runs keep what is asked for."""

import pytest
import torch

from mxhw.arithmetic.dataflow import (
    Add,
    Bias,
    Embedding,
    Indices,
    IntegerGraph,
    Integers,
    ReLU,
    Requantize,
    Rope,
    Step,
)
from mxhw.arithmetic.functions.elementwise import AddSpec
from mxhw.arithmetic.functions.embedding import EmbeddingSpec
from mxhw.arithmetic.functions.requantize import RequantizeSpec
from mxhw.arithmetic.functions.rope import RopeSpec, rope
from mxhw.errors import InputError

X = Integers(length=4, bits=16, exponent=-8)
OTHER = Integers(length=4, bits=16, exponent=-7)
BIAS = Bias(x=X, y=X, values=(1, -2, 40000, -40000))
RELU = ReLU(x=X, y=X)
SUM = Add(x=X, right=X, y=X, spec=AddSpec(left_bits=16, right_bits=16, output_bits=16))
INPUT = torch.tensor([[[1, 2, 3, 4], [-5, 32767, -32767, 0]]])


def graph(*steps: Step, outputs: tuple[str, ...] = ("b",)) -> IntegerGraph:
    return IntegerGraph({"x": X}, steps, outputs)


def small() -> IntegerGraph:
    """Two paths that meet."""
    steps = (Step("a", "a", BIAS, ("x",)), Step("r", "r", RELU, ("a",)), Step("b", "b", SUM, ("a", "r")))
    return graph(*steps)


def test_a_run_gives_the_outputs_or_what_is_asked_for() -> None:
    a = [[2, 0, 32767, -32767], [-4, 32765, 7233, -32767]]
    b = [[min(2 * v, 32767) if v > 0 else v for v in row] for row in a]
    assert {k: v.tolist() for k, v in small().run({"x": INPUT}).items()} == {"b": [b]}
    found = small().run({"x": INPUT}, keep=("a", "r", "b"))
    assert found["a"].tolist() == [a]
    assert found["b"].tolist() == [b]


def test_every_step_can_be_observed() -> None:
    seen: list[tuple[str, list[int]]] = []
    kept = small().run({"x": INPUT}, keep=(), observe=lambda step, value: seen.append((step.name, value.shape)))
    assert kept == {}
    assert [name for name, _ in seen] == ["a", "r", "b"]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((Step("x", "n", RELU, ("x",)),), "two streams of an integer graph are called 'x'"),
        ((Step("b", "n", RELU, ("x",)), Step("b", "n", RELU, ("b",))), "are called 'b'"),
        ((Step("b", "n", RELU, ("later",)), Step("later", "n", RELU, ("x",))), "which no step before it gives"),
        ((Step("b", "n", SUM, ("x",)),), "step b takes 2 streams, not 1"),
        ((Step("b", "n", ReLU(x=OTHER, y=OTHER), ("x",)),), r"takes .*exponent=-7.*, but x gives .*exponent=-8"),
        ((Step("bb", "n", RELU, ("x",)),), "output 'b' is no step of the graph; did you mean 'bb'"),
    ],
)
def test_graphs_that_do_not_fit_together_are_refused(steps: tuple[Step, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graph(*steps)


def test_runs_without_an_input_or_with_an_unknown_step_are_refused() -> None:
    with pytest.raises(InputError, match="input 'x' of the integer graph has no value"):
        small().run({"y": INPUT})
    with pytest.raises(InputError, match="'rr' is no step of the integer graph; did you mean 'r'"):
        small().run({"x": INPUT}, keep=("rr",))


def test_heads_turn_by_the_position_of_their_token() -> None:
    spec = RopeSpec(head_dim=4, positions=6)
    x = Integers(length=12, bits=16, exponent=-10)
    operation = Rope(x=x, y=Integers(length=12, bits=spec.output_bits, exponent=-24), spec=spec)
    values, where = torch.randint(-32767, 32768, (2, 6, 12)), torch.arange(6).expand(2, 6)
    found = operation.run(values, where)
    for head in range(3):
        part = slice(4 * head, 4 * head + 4)
        assert torch.equal(found[..., part], rope(values[..., part], where, spec))


def test_a_shift_and_a_look_up_round_once() -> None:
    wide = Integers(length=4, bits=31, exponent=-24)
    spec = RequantizeSpec(multipliers=(1,), multiplier_bits=2, largest=(1 << 30) - 1, shift=14)
    found = Requantize(x=wide, y=Integers(length=4, bits=16, exponent=-10), spec=spec).run(
        torch.tensor([[[8191, 8192, -8192, -8193]]])
    )
    assert found.tolist() == [[[0, 1, 0, -1]]]
    table = EmbeddingSpec.of(torch.tensor([[1.0, -0.5], [0.25, 0.125]]), -12)
    rows = Embedding(y=Integers(length=2, bits=24, exponent=-12), spec=table)
    assert rows.inputs == (Indices(count=2),)
    got = rows.run(torch.tensor([[1, 0]])).double() * 2.0**-12
    assert torch.allclose(got, torch.tensor([[[0.25, 0.125], [1.0, -0.5]]]).double(), atol=0.005)
