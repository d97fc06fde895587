"""The streamed GEMM units equal the references bit for bit, under any stalls, in exactly the predicted cycles."""

import numpy as np
import pytest
import torch

from mxhw.arithmetic import signed_bits, weight_type_named
from mxhw.formats import parse_format
from mxhw.rtl_templates import StreamedBitModGemm
from mxhw.rtl_templates.gemm.beats import Operand, make_job, output_accumulators
from mxhw.sim.library import StreamError
from tests.rtl_templates.gemm_streams import (
    Product,
    bitmod_product,
    bitmod_unit,
    block_product,
    block_reference,
    block_unit,
    exact_product,
    joined,
    largest_operands,
    run_beats,
)

SERIAL = [
    *("int8-e8m0", "int8", "int6", "int5", "int4-g128-s8", "int6-g48-s8", "bitmod4", "bitmod3", "bitmod3-oneterm"),
    *("bitmod4-g32", "bitmod3-g16", "bitmod4-clip"),
]
# M, K, N: one of everything; ends inside a group, a row tile and a column tile; almost the longest K.
SHAPES = [(1, 16, 1), (5, 200, 7), (3, 480, 4)]
BLOCKS = {"dialect4": ("dialect4", "dialect4-b16", "dialect4-b64", "dialect4-online"), "mxfp8-e4m3": ("mxfp8-e4m3",)}
SLOW_BLOCKS = ("mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e5m2", "mxint8", "mxint4", "mxint2", "int8", "int4")


def check(product: Product, stalls: tuple[float, ...] = (0.4, 0.85)) -> None:
    free = product.run()
    assert product.equals(free)
    assert free.cycles == product.unit.cycles(product.job.commands)
    for seed, stall in enumerate(stalls, start=1):
        run = product.run(stall, seed)
        assert run.ints("y") == free.ints("y")


@pytest.mark.parametrize("mapping", ["gemm", "gemv"])
@pytest.mark.parametrize("name", SERIAL)
def test_outputs_of_every_weight_type_equal_the_reference(name, mapping):
    for seed, shape in enumerate(SHAPES):
        check(bitmod_product(name, *shape, mapping, seed))


@pytest.mark.parametrize("mapping", ["gemm", "gemv"])
@pytest.mark.parametrize("name", BLOCKS["dialect4"])
def test_outputs_of_dialects_equal_the_reference(name, mapping):
    for seed, (m, k, n) in enumerate([(1, 16, 1), (5, 200, 7), (4, 256, 5)]):
        check(block_product(name, "dialect4", m, k, n, mapping, seed))


@pytest.mark.parametrize(
    "element", ["mxfp8-e4m3", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_BLOCKS)]
)
def test_outputs_of_every_block_element_equal_the_reference_and_the_decoded_values(element):
    name = f"{element}-g32-e8m0" if element.startswith("int") else element
    for seed, (m, k, n) in enumerate([(1, 16, 1), (5, 200, 7), (4, 256, 5)]):
        product = block_product(name, element, m, k, n, seed=seed)
        assert (product.accumulators == exact_product(name, block_unit(element), m, k, n, seed)).all()
        check(product)


def test_decoded_values_of_dialects_give_the_same_accumulators():
    product = block_product("dialect4", "dialect4", 5, 200, 7)
    assert (product.accumulators == exact_product("dialect4", block_unit("dialect4"), 5, 200, 7)).all()


@pytest.mark.parametrize(("stall", "seed"), [(0.0, 0), (0.5, 1), (0.9, 2)])
def test_commands_of_all_types_and_mappings_follow_each_other_in_one_run(stall, seed):
    unit = bitmod_unit()
    products = [
        bitmod_product(name, m, 64 * m, 7, mapping, m)
        for m, name in enumerate(SERIAL[:9], start=1)
        for mapping in ("gemm", "gemv")
        if 64 * m <= 512
    ]
    order = np.random.default_rng(3).permutation(len(products))
    products = [products[i] for i in order]
    tiles = [product.job.tiles for product in products]
    run = run_beats(unit, joined(products), sum(tiles), stall, seed)
    beats = run.ints("y")
    for product, end in zip(products, np.cumsum(tiles) * unit.rows, strict=True):
        mine = beats[end - product.job.tiles * unit.rows : end]
        assert (output_accumulators(unit, product.job, mine) == product.accumulators).all()
    if not stall:
        assert run.cycles == unit.cycles(command for product in products for command in product.job.commands)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_cycles_are_exact_where_draining_is_the_limit_and_every_tile_is_a_command(stall):
    """A tile of two cycles leaves in three beats; a command runs as soon as the one before has no step left."""
    products = [block_product("dialect4-b16", "dialect4", 1, 16, 2, seed=seed) for seed in range(9)]
    whole = block_product("dialect4-b16", "dialect4", 8, 16, 7)
    unit, tiles = whole.unit, len(products) + whole.job.tiles
    run = run_beats(unit, joined([*products, whole]), tiles, stall, seed=1)
    beats = run.ints("y")
    for index, product in enumerate(products):
        mine = beats[index * unit.rows : (index + 1) * unit.rows]
        assert (output_accumulators(unit, product.job, mine) == product.accumulators).all()
    rest = beats[len(products) * unit.rows :]
    assert (output_accumulators(unit, whole.job, rest) == whole.accumulators).all()
    commands = [command for product in [*products, whole] for command in product.job.commands]
    assert unit.tile_cycles(commands[0]) == 2 < unit.rows
    assert stall or run.cycles == unit.cycles(commands)


def test_tiles_beyond_the_limit_of_a_command_become_several_commands():
    product = block_product("dialect4-b16", "dialect4", 2, 16, 3)
    unit, most = product.unit, product.unit.limits.tiles
    x, w = (Operand(np.ones((rows, 8), np.int64), 1, np.zeros((rows, 1), np.int64)) for rows in (3 * most + 1, 2))
    counts = [command.tiles for command in make_job(unit, x, w).commands]
    assert counts == [most, 1]


@pytest.mark.parametrize("name", ["int8", "fp4", "fp3", "fp3-oneterm", "int6"])
def test_sums_of_the_largest_magnitudes_do_not_overflow(name):
    """The widest type reaches the bound: one bit less would not hold it."""
    unit, kind = bitmod_unit(), weight_type_named(name)
    k = unit.limits.tile_chunks * unit.lanes
    x = np.where(np.arange(unit.rows)[:, None] % 2, 127, -127) * np.ones((1, k), np.int64)
    codes = np.full((unit.columns, k), kind.special_code or kind.largest)
    selector = int(np.argmax(np.abs(kind.special_values or [0])))
    value = kind.value(int(codes[0, 0]), selector)
    assert abs(value) == kind.largest
    scales = np.full((unit.columns, k // unit.group), 255 | selector << 8)
    chunks, number = unit.limits.group_chunks, unit.number(name)
    job = make_job(unit, Operand(x, chunks), Operand(codes, chunks, scales, number))
    expected = x.sum(1).astype(object)[:, None] * value * 255 * np.ones((1, unit.columns), object)
    assert Product(unit, job, expected).equals(run_beats(unit, job.beats, job.tiles))
    needed = signed_bits(int(abs(expected).max()))
    assert needed <= unit.accumulator_width
    assert name != "int8" or needed == unit.accumulator_width


@pytest.mark.parametrize(("element", "code", "sign", "dialect"), [("dialect4", 7, 15, 0), ("mxfp8-e4m3", 126, 254, 0)])
def test_block_sums_of_the_largest_magnitudes_do_not_overflow(element, code, sign, dialect):
    unit = block_unit(element)
    operands = largest_operands(unit, code, sign, dialect)
    expected = block_reference(unit, *operands)
    job = make_job(unit, *operands)
    assert Product(unit, job, expected).equals(run_beats(unit, job.beats, job.tiles))
    assert expected.max() > 0 > expected.min()
    assert signed_bits(int(abs(expected).max())) == unit.accumulator_width


def test_a_unit_of_few_types_and_a_wider_accumulator_computes_the_same():
    unit = StreamedBitModGemm(rows=1, columns=2, k=512, types=("fp4", "fp3-oneterm"), accumulator=48)
    assert (unit.accumulator_width, unit.bits.w) == (48, 4)
    for name in ("bitmod4", "bitmod3-oneterm"):
        check(bitmod_product(name, 5, 200, 7, unit=unit), stalls=(0.5,))


def test_nothing_but_zeros_gives_zeros_whatever_the_scales():
    unit = bitmod_unit()
    codes, scales = np.zeros((3, 256), np.int64), np.full((3, 2), 1023)
    x = Operand(np.full((2, 256), -127), 32)
    job = make_job(unit, x, Operand(codes, 32, scales, unit.number("fp4")))
    assert not any(run_beats(unit, job.beats, job.tiles).ints("y"))


@pytest.mark.parametrize("unit", [bitmod_unit(), block_unit("dialect4")], ids=["bitmod", "dialect"])
def test_a_single_row_is_as_many_times_faster_as_there_are_rows_of_pes(unit):
    name, k, n = ("bitmod4", 512, 24) if unit is bitmod_unit() else ("dialect4", 256, 24)
    if unit is bitmod_unit():
        products = [bitmod_product(name, 1, k, n, mapping) for mapping in ("gemm", "gemv")]
    else:
        products = [block_product(name, "dialect4", 1, k, n, mapping) for mapping in ("gemm", "gemv")]
    runs = [product.run() for product in products]
    assert all(product.equals(run) for product, run in zip(products, runs, strict=True))
    assert runs[0].cycles / runs[1].cycles > 0.9 * unit.rows


class TestFaultsAreCaught:
    """Negative controls of the comparison above."""

    product = bitmod_product("bitmod4", 5, 200, 7)

    def wrong(self, stream: str, beats: list[int]) -> bool:
        job = self.product.job
        run = run_beats(self.product.unit, job.beats | {stream: beats}, job.tiles)
        return not self.product.equals(run)

    def test_swapped_columns(self):
        unit, beats = self.product.unit, self.product.job.beats["w"]
        bits = unit.lanes * unit.bits.w
        low, high = (1 << bits) - 1, ~((1 << 2 * bits) - 1)
        swapped = [(b & high) | (b & low) << bits | (b >> bits & low) for b in beats]
        assert self.wrong("w", swapped) and not self.wrong("w", beats)

    @pytest.mark.parametrize("bit", [0, 7, 8, 9])
    def test_one_bit_of_a_scale(self, bit):
        first, *others = self.product.job.beats["w_scale"]
        assert self.wrong("w_scale", [first ^ 1 << bit, *others])

    def test_one_bit_of_an_activation_and_of_a_weight(self):
        for stream in ("x", "w"):
            first, *others = self.product.job.beats[stream]
            assert self.wrong(stream, [first ^ 1, *others])

    @pytest.mark.parametrize("stream", ["x", "w", "w_scale", "command"])
    def test_a_beat_that_is_dropped(self, stream):
        with pytest.raises(StreamError, match="deadlock or a lost beat"):
            self.wrong(stream, self.product.job.beats[stream][:-1])

    def test_a_wrong_dialect_and_a_wrong_exponent(self):
        product = block_product("dialect4", "dialect4", 5, 200, 7)
        for stream in ("x_scale", "w_scale"):
            for bit in (1, 4):
                first, *others = product.job.beats[stream]
                beats = product.job.beats | {stream: [first ^ 1 << bit, *others]}
                assert not product.equals(run_beats(product.unit, beats, product.job.tiles))


def test_the_codes_of_attention_operands_can_take_the_place_of_weights():
    """q · kᵀ: both operands are computed int8 vectors with a power-of-two scale each."""
    fmt = parse_format("int8-e8m0")
    generator = torch.Generator().manual_seed(5)
    assert fmt.encode(torch.randn(9, 64, generator=generator)).codes.shape == (9, 1, 64)
    check(bitmod_product("int8-e8m0", 4, 64, 9))
