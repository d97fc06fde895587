"""Decoders: every code of every type against the tables of the formats; and the checkers catch a planted fault."""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from mxhw.arithmetic import weight_type_named, weight_types
from mxhw.errors import InputError
from mxhw.formats import DIALECT_TABLE
from mxhw.rtl_templates.decoder import BitModTermDecoder, DialectDecoder


def dialect_mismatches(decoder, table):
    """Every (dialect, code, expected, got) in which ``decoder`` differs from ``table``."""
    found = []

    async def bench(ctx):
        for dialect in range(16):
            for code in range(16):
                ctx.set(decoder.dialect, dialect)
                ctx.set(decoder.code, code)
                got = ctx.get(decoder.operand)
                expected = (code >> 3, table[dialect][code & 7])
                if (got.sign, got.magnitude) != expected:
                    found.append((dialect, code, expected, (got.sign, got.magnitude)))

    simulator = Simulator(decoder)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def term_mismatches(decoder, kind):
    """Every (code, selector, step) whose term differs from the one of ``kind``."""
    found = []

    async def bench(ctx):
        for selector in range(max(1, len(kind.special_values))):
            for code in range(1 << kind.code_bits):
                for step in range(len(kind.significances)):
                    ctx.set(decoder.selector, selector)
                    ctx.set(decoder.code, code)
                    ctx.set(decoder.step, step)
                    got, expected = ctx.get(decoder.term), kind.term(code, step, selector)
                    same_digit = (got.sign, got.exponent) == (expected.sign, expected.exponent) or not got.mantissa
                    if got.mantissa != expected.mantissa or not same_digit:
                        found.append((code, selector, step))

    simulator = Simulator(decoder)
    simulator.add_testbench(bench)
    simulator.run()
    return found


def test_every_code_of_every_dialect_decodes_to_the_table():
    assert dialect_mismatches(DialectDecoder(), DIALECT_TABLE) == []


def test_a_single_wrong_table_entry_is_caught():
    wrong = [list(row) for row in DIALECT_TABLE]
    wrong[6][7] = 13
    found = dialect_mismatches(DialectDecoder(table=wrong), DIALECT_TABLE)
    assert found == [(6, 7, (0, 12), (0, 13)), (6, 15, (1, 12), (1, 13))]


@pytest.mark.parametrize("table", [DIALECT_TABLE[:15], [row[:7] for row in DIALECT_TABLE]])
def test_a_table_of_another_shape_is_refused(table):
    with pytest.raises(InputError, match="16 dialects of 8 magnitudes"):
        DialectDecoder(table=table)


def test_a_magnitude_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"at most 15 half-units, not 16"):
        DialectDecoder(table=[(0, 1, 2, 3, 4, 6, 8, 16)] * 16)


@pytest.mark.parametrize("name", list(weight_types()))
def test_every_term_of_every_code_is_that_of_the_reference(name):
    kind = weight_type_named(name)
    assert term_mismatches(BitModTermDecoder(weight_type=kind), kind) == []


@pytest.mark.parametrize("name", ["fp3", "fp4"])
def test_a_wrong_special_value_or_magnitude_is_caught(name):
    kind = weight_type_named(name)
    special = replace(kind, special_values=(*kind.special_values[:3], kind.special_values[3] + 1))
    assert {code for code, _, _ in term_mismatches(BitModTermDecoder(weight_type=special), kind)} == {kind.special_code}
    wrong = replace(kind, magnitudes=(*kind.magnitudes[:2], 5, *kind.magnitudes[3:]))
    assert {code for code, _, _ in term_mismatches(BitModTermDecoder(weight_type=wrong), kind)} == {
        2,
        2 + kind.special_code,
    }
