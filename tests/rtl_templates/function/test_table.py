"""The table look-up in hardware: every argument of every kind of table, with pauses; planted faults are found."""

import numpy as np
import pytest
import torch

from mxhw.arithmetic.functions.inverse_root import RSQRT
from mxhw.arithmetic.tables import Table
from mxhw.rtl_templates.function import table as table_module
from mxhw.rtl_templates.function.table import TableLookup
from tests.rtl_templates.bank import Bench, damaged, off_by_one, without_half

TABLES = {
    "rsqrt": RSQRT,
    "plain": Table("plain", tuple(range(255, -1, -1)), 8, 0, 8),
    "rising": Table("rising", (0, 1, 5, 200, 255), 2, 6, 8),
    "mixed": Table("mixed", (0, 255, 0, 128, 127, 255, 3, 3, 9), 3, 5, 8),
    "flat": Table("flat", (7, 7), 0, 4, 3),
}


@pytest.fixture(scope="module")
def bench():
    units = {name: TableLookup(table=table) for name, table in TABLES.items()}
    units["off_by_one"] = TableLookup(table=off_by_one(RSQRT, 11))
    units["without_half"] = damaged(TableLookup(table=RSQRT), table_module, round_shift=without_half)
    return Bench(units)


@pytest.fixture(scope="module")
def trace(bench):
    """All arguments of the largest table, twice: every cycle, then with pauses. The others see their own bits of it."""
    arguments = np.arange(1 << 17)
    x, enable = np.tile(arguments, 2), np.ones(1 << 18, dtype=np.int64)
    enable[1 << 17 :] = np.random.default_rng(0).random(1 << 17) < 0.7
    inputs = {name: {"x": x & (1 << TABLES.get(name, RSQRT).input_bits) - 1, "enable": enable} for name in bench.units}
    return inputs, bench.trace(inputs)


def agrees(trace, unit, table):
    """Whether y is the value of the x of ``latency`` enabled edges before, in every cycle after the first ones."""
    inputs, outputs = trace
    x, enable = inputs[unit]["x"], inputs[unit]["enable"]
    moved = np.concatenate([[0], np.cumsum(enable)])[:-1]
    latency = TableLookup(table=table).latency
    taken = x[enable == 1]
    cycles = moved >= latency
    expected = table.lookup(torch.from_numpy(taken[moved[cycles] - latency])).numpy()
    return bool((outputs[unit]["y"][cycles] == expected).all())


@pytest.mark.parametrize("name", TABLES)
def test_every_argument_is_looked_up_after_the_stated_latency(trace, name):
    assert agrees(trace, name, TABLES[name])


@pytest.mark.parametrize("fault", ["off_by_one", "without_half"])
def test_a_planted_fault_is_found(trace, fault):
    assert not agrees(trace, fault, RSQRT)


def test_verilog_is_clean(bench):
    assert bench.complaints() == ""
