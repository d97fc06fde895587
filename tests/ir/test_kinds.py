"""Kinds of one's own: what a module of a registered class computed is one node; a registered operator is one, too."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mxhw.errors import InputError
from mxhw.ir import Graph, capture_features, kinds, register_module, register_operator
from mxhw.ir.coverage import uncovered
from mxhw.ir.storage import load_graph, save_graph


class Squared(nn.Module):
    """Two operators."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x).square()


class Twice(nn.Module):
    """Calls a module twice in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Squared()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x))


class Negated(nn.Module):
    """One operator, which is of no kind by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return -x


class Gated(nn.Module):
    """Parameters, a linear layer inside, and a class that the dialect knows."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.gate, self.act = nn.Parameter(torch.randn(8)), nn.Linear(8, 8, bias=False), nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.gate(x)) * self.gain * x


@torch.library.custom_op("mxhw_test_kinds::softcap", mutates_args=())
def softcap(x: Tensor, cap: float) -> Tensor:
    return cap * torch.tanh(x / cap)


@softcap.register_fake
def _(x: Tensor, cap: float) -> Tensor:
    return torch.empty_like(x)


class Capped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return softcap(x * 2, 3.0) + 1


OPERATOR = torch.ops.mxhw_test_kinds.softcap.default


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what these tests register from the other tests."""
    before = dict(kinds._modules), dict(kinds._operators)
    yield
    for table, entries in zip((kinds._modules, kinds._operators), before, strict=True):
        table.clear()
        table.update(entries)


def captured(*modules: nn.Module) -> tuple[nn.Module, Graph]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), *modules).eval()
    return model, capture_features(model, torch.zeros(2, 4, 8))


def test_without_registration_the_dialect_decides() -> None:
    _, graph = captured(Squared())
    assert [info.op for info in graph.nodes.values()] == ["linear", "act", "other"]


@pytest.mark.parametrize("module", [Squared, Negated])
def test_a_call_of_a_registered_module_is_one_node(module: type[nn.Module], tmp_path: Path) -> None:
    register_module(module.__name__, "mine")
    model, graph = captured(module(), nn.Linear(8, 8), module())
    found = {name: info for name, info in graph.nodes.items() if info.op == "mine"}
    assert list(found) == ["1", "3"]
    assert all((info.target, info.macs, info.sites) == ("body", 0, ()) for info in found.values())
    assert uncovered(graph).nodes == ()
    save_graph(graph, tmp_path)
    again, x = load_graph(tmp_path), torch.randn(3, 5, 8)
    assert again.nodes == graph.nodes
    for each in (graph, again):
        torch.testing.assert_close(each.module(x), model(x), rtol=0, atol=0)


def test_two_calls_of_one_module_in_a_row_are_two_nodes() -> None:
    register_module("Squared", "mine")
    model, graph = captured(Twice())
    names = [(info.op, info.name) for info in graph.nodes.values()]
    assert names == [("linear", "0"), ("mine", "1.inner"), ("mine", "1.inner_2")]
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(graph.module(x), model(x), rtol=0, atol=0)


def test_a_name_goes_before_the_patterns_of_the_dialect_and_an_expression_is_for_whole_names() -> None:
    register_module("Squ.*|SiLU", "mine")
    register_module("Negat", "not_mine")
    _, graph = captured(Squared(), nn.SiLU(), Negated())
    assert [info.op for info in graph.nodes.values()] == ["linear", "mine", "mine", "other"]


def test_a_class_may_become_a_kind_of_the_dialect() -> None:
    register_module("Squared", "act")
    _, graph = captured(Squared())
    assert [info.op for info in graph.nodes.values()] == ["linear", "act"]


def test_products_inside_are_counted_or_refused(tmp_path: Path) -> None:
    register_module("Gated", "gated")
    with pytest.raises(InputError, match=r"module '1' of class Gated multiplies matrices \(aten.linear.*macs="):
        captured(Gated())
    kinds._modules.clear()
    register_module("Gated", "gated", macs=lambda operands, output: output[0] * output[1] * output[2] * operands[1][1])
    model, graph = captured(Gated())
    assert [info.op for info in graph.nodes.values()] == ["linear", "gated"]
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(graph.module(x), model(x), rtol=0, atol=0)
    assert graph.macs(3, 5) == 2 * 3 * 5 * 8 * 8
    assert uncovered(graph).nodes == ("1",)  # no format can be given to its product
    save_graph(graph, tmp_path)
    assert load_graph(tmp_path).nodes == graph.nodes


def test_a_custom_operator_is_a_node_once_it_is_registered(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"operator mxhw_test_kinds.softcap.default of '1' .*register_operator"):
        captured(Capped())
    register_operator(OPERATOR, "softcap", macs=lambda operands, output: output[1])
    model, graph = captured(Capped())
    assert [(info.op, info.name) for info in graph.nodes.values()][1:] == [
        ("mul", "1.mul"),
        ("softcap", "1.softcap"),
        ("add", "1.add"),
    ]
    assert graph.nodes["1.softcap"].target == "mxhw_test_kinds.softcap.default"
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(graph.module(x), model(x), rtol=0, atol=0)
    assert graph.macs(1, 7) == 7 * 8 * 8 + 7
    save_graph(graph, tmp_path)
    assert load_graph(tmp_path).nodes == graph.nodes
    kinds._operators.clear()
    with pytest.raises(InputError, match=r"'mxhw_test_kinds.softcap.default' does not exist .*be registered before"):
        load_graph(tmp_path)
    with pytest.raises(InputError, match=r"operator mxhw_test_kinds.softcap.default cannot be stored"):
        save_graph(graph, tmp_path)


def test_a_custom_operator_inside_a_module_of_a_known_class_stays_a_node() -> None:
    class CappedActivation(Capped):
        pass

    register_operator(torch.ops.mxhw_test_kinds.softcap, "softcap")
    _, graph = captured(CappedActivation())
    assert [info.op for info in graph.nodes.values()] == ["linear", "mul", "softcap", "add"]


@pytest.mark.parametrize(
    ("pattern", "op", "message"),
    [
        ("Squared", "mine", r"modules of class 'Squared' are 'squared' already; register a class once"),
        ("Other(", "mine", r"class must be a name or a regular expression, not 'Other\('"),
        (3, "mine", r"class must be a name or a regular expression, not 3"),
        ("Other", "linear", r"kind 'linear' is the dialect's own; choose a new name"),
        ("Other", "other", r"kind 'other' is the dialect's own"),
        ("Other", "Squared Relu", r"kind must be a lower-case name such as 'squared_relu', not 'Squared Relu'"),
        ("Other", None, r"kind must be a lower-case name"),
    ],
)
def test_what_cannot_be_registered_is_one_line(pattern: str, op: str, message: str) -> None:
    register_module("Squared", "squared")
    before = dict(kinds._modules)
    with pytest.raises(InputError, match=message):
        register_module(pattern, op)
    assert kinds._modules == before


def test_macs_are_for_new_kinds() -> None:
    with pytest.raises(InputError, match=r"kind 'act' is the dialect's and counts no multiply-accumulates"):
        register_module("Squared", "act", macs=lambda operands, output: 1)


def test_a_class_of_two_kinds_is_refused_where_it_occurs() -> None:
    register_module("Squared", "one")
    register_module("Squ.*", "two")
    with pytest.raises(InputError, match=r"class 'Squared' was registered for several kinds: .*register it once"):
        captured(Squared())


def test_operators_that_cannot_be_nodes_are_refused() -> None:
    @torch.library.custom_op("mxhw_test_kinds::fill", mutates_args={"x"})
    def fill(x: Tensor) -> None:
        x.fill_(1)

    register_operator(OPERATOR, "softcap")
    for operator, op, message in (
        (OPERATOR, "again", r"softcap.default is 'softcap' already; register an operator once"),
        (torch.ops.aten.tanh.default, "mine", r"aten.tanh.default is no custom operator"),
        (torch.ops.mxhw_test_kinds.fill.default, "fill", r"fill.default writes into an argument"),
        (torch.ops.aten.add, "mine", r"operator must be one of torch.ops, such as"),
        (torch.tanh, "mine", r"operator must be one of torch.ops, such as"),
    ):
        with pytest.raises(InputError, match=message):
            register_operator(operator, op)  # type: ignore[arg-type]
    kinds._operators.clear()
    with pytest.raises(InputError, match=r"kind 'mul' is the dialect's own"):
        register_operator(OPERATOR, "mul")
