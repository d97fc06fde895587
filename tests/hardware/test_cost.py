"""Cost identities over drawn units and shapes; cycles equal those that the RTL's units state."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from mxhw.errors import InputError
from mxhw.hardware import GemmWork, gemm_costs, load_platform, steady_cycles, total_cycles
from tests.hardware.draws import BITMOD4, DIALECT, INT8, batch_of, column, powers, units, works

ASAP7 = load_platform("asap7")
ZU7EV = load_platform("zu7ev")


@given(units, works, powers, powers)
def test_doubling_whole_row_tiles_doubles_steady_cycles(unit, work, rows, columns) -> None:
    work = replace(work, m=rows * work.m)
    once = steady_cycles(batch_of(unit, work), rows, column(columns))
    assert steady_cycles(batch_of(unit, replace(work, m=2 * work.m)), rows, column(columns)) == 2 * once


@given(units, works, powers, powers)
def test_steady_cycles_do_all_products(unit, work, rows, columns) -> None:
    cycles = int(steady_cycles(batch_of(unit, work), rows, column(columns))[0, 0])
    macs = work.m * work.n * work.k * work.count
    assert cycles * rows * columns * unit.lanes >= macs * unit.terms
    assert int(total_cycles(batch_of(unit, work), rows, column(columns))[0, 0]) > cycles


@given(units, works, powers)
def test_more_columns_cost_area_and_save_no_less_cycles(unit, work, rows) -> None:
    options = column(1, 2, 4, 8, 16, 32, 64)
    costs = gemm_costs(batch_of(unit, work), rows, options, ASAP7)
    elements = costs.logic["elements"][0]
    assert (np.diff(elements) > 0).all()
    assert (np.diff(costs.resource("area")[0]) > 0).all()
    assert (np.diff(costs.cycles[0]) <= 0).all()


@given(units, works, powers, powers)
@settings(max_examples=50)
def test_more_rows_cost_area(unit, work, rows, columns) -> None:
    small = gemm_costs(batch_of(unit, work), rows, column(columns), ASAP7)
    large = gemm_costs(batch_of(unit, work), 2 * rows, column(columns), ASAP7)
    assert large.resource("area") > small.resource("area")
    assert (large.resource("area") - small.resource("area")) >= (large.logic["elements"] - small.logic["elements"])


@given(units, works, powers, powers)
@settings(max_examples=50)
def test_a_batch_costs_what_its_nodes_cost(unit, work, rows, columns) -> None:
    from mxhw.hardware import GemmBatch

    both = gemm_costs(GemmBatch([unit, INT8], [work, work]), rows, np.full((2, 1), columns), ASAP7)
    alone = gemm_costs(batch_of(INT8, work), rows, column(columns), ASAP7)
    assert both.cycles[1] == alone.cycles[0]
    assert both.resource("area")[1] == pytest.approx(alone.resource("area")[0])
    assert both.total_energy()[1] == pytest.approx(alone.total_energy()[0])


def test_memory_bits_are_codes_metadata_and_buffer() -> None:
    costs = gemm_costs(batch_of(BITMOD4, GemmWork(512, 64, 256)), 8, column(16), ASAP7)
    codes, metadata, buffer = 64 * 256 * 4, 64 * 2 * 10, 2 * 64 * 8 * 32
    assert costs.memory_bits[0, 0] == codes + metadata + buffer
    assert costs.memory["weights"][0, 0] == pytest.approx(codes * 0.027)


def test_operands_computed_at_run_time_are_held_twice_and_written() -> None:
    still = gemm_costs(batch_of(INT8, GemmWork(64, 64, 32, 4)), 8, column(8), ASAP7)
    moving = gemm_costs(batch_of(INT8, GemmWork(64, 64, 32, 4, stationary=False)), 8, column(8), ASAP7)
    assert moving.memory["weights"] == 2 * still.memory["weights"]
    assert moving.energy["weights"] > still.energy["weights"]
    assert moving.cycles == still.cycles


def test_energy_without_a_source_is_refused() -> None:
    costs = gemm_costs(batch_of(BITMOD4, GemmWork(8, 8, 128)), 4, column(4), ZU7EV)
    assert costs.energy is None
    with pytest.raises(InputError, match="energy of this platform is unknown"):
        costs.total_energy()


def test_fpga_memories_take_the_best_aspect_ratio() -> None:
    # 16 columns x 4 lanes x 4 bits = 256 bits a word; 64 / 16 tiles x 64 chunks = 256 words: 4 blocks of 72 x 512
    costs = gemm_costs(batch_of(BITMOD4, GemmWork(512, 64, 256)), 1, column(16), ZU7EV)
    weights = -(-256 // 72)
    buffer = 1  # 128 words of 32 bits
    assert costs.blocks[0, 0] == weights + buffer
    assert costs.memory["metadata"][0, 0] == np.ceil(8 * 160 / 64)  # 8 words are too few for a block


@pytest.mark.parametrize("m", [1, 5, 16, 33])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 4), (8, 2), (16, 16)])
@pytest.mark.parametrize(("n", "k"), [(1, 4), (7, 32), (24, 130), (64, 256)])
def test_cycles_are_those_of_the_rtl(m: int, rows: int, columns: int, n: int, k: int) -> None:
    from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape

    shape = GemmShape(rows=rows, columns=columns, n=n, k=k)
    int6 = replace(BITMOD4, weight_type="int6", terms=3, code_bits=6, metadata_bits=8)
    twins = [
        (BITMOD4, BitModGemm(shape, weight_type="fp4", group=128)),
        (int6, BitModGemm(shape, weight_type="int6")),
        (INT8, BitModGemm(shape, weight_type="int8", group=None)),
        (DIALECT, DialectGemm(shape, block=32)),
    ]
    for unit, twin in twins:
        ours = total_cycles(batch_of(unit, GemmWork(m, n, k)), rows, column(columns))
        assert int(ours[0, 0]) == twin.cycles(m)


def test_memories_are_those_of_the_rtl() -> None:
    from mxhw.hardware import unit_memories
    from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape

    shape = GemmShape(rows=4, columns=8, n=50, k=300)
    for unit, twin in ((BITMOD4, BitModGemm(shape, weight_type="fp4")), (DIALECT, DialectGemm(shape))):
        memories = unit_memories(batch_of(unit, GemmWork(9, 50, 300)), 4, column(8))
        sizes = {name: (int(np.max(each.depth)), int(np.max(each.width))) for name, each in memories.items()}
        assert sizes["weights"] == (twin.weights_depth, twin.weights_width)
        assert sizes["metadata"] == (twin.metadata_depth, twin.metadata_width)
        assert sizes["activations"] == (2 * twin.chunks, twin.x_width)
