"""Closed forms of units against their series of events, which equal the RTL: no cycle off, over drawn sizes."""

import random

import pytest

from mxhw.errors import InputError
from mxhw.hardware.cycles import functions, products, unit_cycles, unit_interval
from mxhw.hardware.structure import Fifo, Product
from mxhw.passes.emit.dataflow.schedule import step_interval
from tests.hardware.cycles.draws import KINDS, draw_unit
from tests.hardware.cycles.events import ends_alone


def draws(kind: str, count: int, seed: int = 1):
    rng = random.Random(f"{kind} {seed}")
    return [draw_unit(rng, kind) for _ in range(count)]


def compared(kind: str, count: int, seed: int = 1) -> list[int]:
    """Cycles that the closed form has more than the series of events."""
    found = []
    for drawn in draws(kind, count, seed):
        wanted = int(ends_alone(drawn.operation, drawn.placed, drawn.positions).max()) + 1
        found.append(unit_cycles(drawn.unit, drawn.tokens, int(drawn.positions[0])) - wanted)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_alone_takes_the_cycles_of_its_component(kind: str) -> None:
    assert set(compared(kind, 40)) == {0}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_so_do_many(kind: str) -> None:
    assert set(compared(kind, 600, seed=2)) == {0}


@pytest.mark.parametrize("kind", KINDS)
def test_an_interval_is_that_of_the_component(kind: str) -> None:
    """But where divisions hold up the first tokens of sequences, of which the estimate of events is a lower bound."""
    rng = random.Random(5)
    for drawn in draws(kind, 15, seed=3):
        keys = getattr(drawn.unit, "keys", getattr(drawn.unit, "most", 1))
        position = rng.randrange(keys)
        wanted, found = step_interval(drawn.operation, drawn.placed, position), unit_interval(drawn.unit, position)
        if kind == "values" and position < 8:
            assert wanted <= found <= wanted + 2
        else:
            assert found == pytest.approx(wanted)


def test_the_gemm_of_a_product_takes_the_cycles_that_its_component_states() -> None:
    """But for several rows of a single beat each, where it leaves out a cycle of the queues that rows wait in."""
    for drawn in draws("product", 40, seed=4):
        component = drawn.placed.component
        if component.timing.x_beats == 1 < drawn.unit.rows:  # type: ignore[attr-defined]
            continue
        assert unit_cycles(drawn.unit, drawn.tokens) == component.cycles(drawn.tokens)  # type: ignore[attr-defined]
        assert unit_interval(drawn.unit) == pytest.approx(float(component.interval))  # type: ignore[attr-defined]


def test_a_wrong_constant_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "CAPTURE", products.CAPTURE + 1)
    monkeypatch.setattr(functions, "ROPE_STAGES", 4)
    monkeypatch.setattr(functions, "NORM_STAGES", {"rms_norm": (3, 11, 6), "layer_norm": (7, 11, 6)})
    assert set(compared("product", 5)) == {1}
    assert set(compared("rope", 5)) == {1}
    assert set(compared("layer_norm", 5)) == {-1}
    assert set(compared("rms_norm", 5)) == {0}


def test_no_tokens_take_no_cycles() -> None:
    assert unit_cycles(draws("rope", 1)[0].unit, 0) == 0


def test_what_cannot_run_is_refused() -> None:
    product = next(each.unit for each in draws("product", 40) if isinstance(each.unit, Product) and each.unit.rows == 3)
    with pytest.raises(InputError, match="takes a multiple of 3 tokens, not 4"):
        unit_cycles(product, 4)
    with pytest.raises(InputError, match="takes a multiple of 1 tokens, not -1"):
        unit_cycles(draws("rope", 1)[0].unit, -1)
    with pytest.raises(InputError, match="position of 0 or more, not -2"):
        unit_cycles(draws("rope", 1)[0].unit, 1, start=-2)
    with pytest.raises(InputError, match="cycles of a unit Fifo are not known"):
        unit_cycles(Fifo(depth=2, bits=8), 1)
