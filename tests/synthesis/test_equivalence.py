"""A design is proved equal to its second description, and to no description that differs in anything."""

import pytest

from mxhw.formats import DIALECT_TABLE
from mxhw.rtl_templates.decoder import DialectDecoder
from mxhw.synthesis import YosysError, prove_equal
from tests.synthesis.designs import Mac, Pulse, decoder_verilog, mac_verilog, pulse_verilog


def test_a_decoder_equals_its_table() -> None:
    proof = prove_equal(DialectDecoder(), decoder_verilog(DIALECT_TABLE))
    assert proof.proved
    assert proof.methods == ("sat",)
    assert proof.counterexample is None
    assert proof.seconds > 0


@pytest.mark.parametrize(("dialect", "index"), [(0, 0), (3, 5), (15, 7)])
def test_one_changed_table_entry_is_found_and_named(dialect: int, index: int) -> None:
    table = [list(row) for row in DIALECT_TABLE]
    table[dialect][index] ^= 1
    proof = prove_equal(DialectDecoder(), decoder_verilog(table))
    assert not proof.proved
    assert proof.counterexample is not None
    (ports,) = proof.counterexample
    assert (ports["in_dialect"], ports["in_code"] & 7) == (dialect, index)
    assert ports["gold_operand"] & 15 == table[dialect][index]
    assert ports["gate_operand"] & 15 == DIALECT_TABLE[dialect][index]


def test_a_mac_equals_its_formula_by_both_methods() -> None:
    proof = prove_equal(Mac(width=4, accumulator=12), mac_verilog(4, 12), sequential=True)
    assert proof.proved
    assert [(step.method, step.verdict) for step in proof.steps] == [("sat", "proved"), ("equiv", "proved")]


@pytest.mark.parametrize("change", [{"initial": 1}, {"reset": 4}, {"sign": "-"}])
def test_another_initial_value_reset_or_sign_is_found(change: dict[str, int]) -> None:
    proof = prove_equal(Mac(width=4, accumulator=12), mac_verilog(4, 12, **change), sequential=True)
    assert not proof.proved
    assert proof.counterexample is not None
    last = proof.counterexample[-1]
    assert last["gold_result"] != last["gate_result"]
    assert all(ports["gold_result"] == ports["gate_result"] for ports in proof.counterexample[:-1])


def test_registers_of_equal_names_complete_an_induction_that_outputs_do_not() -> None:
    proof = prove_equal(Pulse(), pulse_verilog(), sequential=True)
    assert proof.proved
    assert proof.methods == ("sat with registers", "equiv")
    assert not prove_equal(Pulse(), pulse_verilog(count="other"), sequential=True, names_match=False).proved


@pytest.mark.parametrize("change", [{"initial": 1}, {"last": 48}])
def test_registers_do_not_hide_a_difference_that_takes_long_to_show(change: dict[str, int]) -> None:
    assert not prove_equal(Pulse(), pulse_verilog(**change), sequential=True).proved


def test_a_description_that_leaves_outputs_open_equals_nothing() -> None:
    sign = "module gold(input [3:0] code, input [3:0] dialect, output [4:0] operand); assign operand[4] = code[3];"
    assert not prove_equal(DialectDecoder(), sign + " endmodule").proved


@pytest.mark.parametrize(
    ("verilog", "message"),
    [
        ("module gold(input clk) endmodule", "syntax error"),
        ("module silver(input clk); endmodule", "gold"),
        (pulse_verilog().replace("input enable", "input enable, input more"), "more"),
        (pulse_verilog().replace("output hit", "output [1:0] hit"), "hit"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(verilog: str, message: str) -> None:
    with pytest.raises(YosysError, match=message) as refused:
        prove_equal(Pulse(), verilog, sequential=True)
    assert "\n" not in str(refused.value)
