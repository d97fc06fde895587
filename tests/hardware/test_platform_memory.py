"""Memories on platforms: sizes and energies against counts by hand, primitives, and monotonicity."""

from itertools import pairwise

import numpy as np
import pytest

from mxhw.hardware import known_platforms, load_platform
from mxhw.hardware.platform import (
    AsicPlatform,
    FpgaPlatform,
    memory_access_energies,
    memory_access_energy,
    memory_amounts,
    memory_kind,
    memory_leakage,
    memory_sizes,
    onchip_bits,
)
from mxhw.hardware.structure import MemoryShape

ASICS = ("asap7", "sg13g2", "bitmod-28nm")
FPGAS = ("ecp5-85", "zu7ev", "u55c")


def memory(words: int, bits: int, *, constant: bool = False) -> MemoryShape:
    return MemoryShape("drawn", words, bits, constant=constant)


# ASICs.
@pytest.mark.parametrize(
    ("name", "words", "bits", "area"),
    [
        ("sg13g2", 64, 64, 50_489),  # the data sheets of IHP's macros
        ("sg13g2", 1024, 64, 263_946),
        ("sg13g2", 2048, 64, 491_634),
        ("sg13g2", 8192, 64, 8192 * 64 * 3.474 + 2 * 36_259),  # above the largest macro: two of them
        ("sg13g2", 64, 1024, 16 * 50_489),  # as many beside each other as the words need
        ("asap7", 256, 16, 9.612 * 25.92),  # srambank_64x4x16: its size in the PDK's LEF file
        ("asap7", 1024, 64, 2359.86),  # srambank_256x4x64: area of its liberty file
    ],
)
def test_macros_take_what_their_data_sheets_say(name: str, words: int, bits: int, area: float) -> None:
    assert memory_sizes(memory(words, bits), load_platform(name))["area"] == pytest.approx(area, rel=2e-4)


@pytest.mark.parametrize(
    ("words", "bits", "read", "write"),
    [(256, 64, 49.634, 63.4365), (1024, 64, 91.8272, 110.9189), (2048, 64, 122.394, 155.3678), (512, 32, 36.01, 42.32)],
)
def test_accesses_cost_what_the_liberty_files_say(words: int, bits: int, read: float, write: float) -> None:
    assert memory_access_energy(memory(words, bits), load_platform("sg13g2")) == pytest.approx((read, write), rel=0.02)


@pytest.mark.parametrize("name", ASICS)
def test_small_memories_are_registers_where_these_are_smaller(name: str) -> None:
    platform = load_platform(name)
    assert isinstance(platform, AsicPlatform)
    assert memory_kind(memory(2, 8), platform) == "registers"
    assert memory_sizes(memory(2, 8), platform)["area"] == pytest.approx(16 * platform.register_area)
    assert memory_kind(memory(4096, 64), platform) == "sram"
    sram = platform.memory.sram
    for words in range(1, 200):
        area = memory_sizes(memory(words, 8), platform)["area"]
        macro = max(8 * words, sram.minimum.value) * sram.bit.value + sram.macro.value
        assert area == pytest.approx(min(8 * words * platform.register_area, macro))


# FPGAs.
@pytest.mark.parametrize(
    ("name", "words", "bits", "constant", "taken"),
    [
        ("ecp5-85", 16, 4, False, {"lut": 6}),  # one TRELLIS_DPR16X4
        ("ecp5-85", 17, 5, False, {"lut": 24}),
        ("ecp5-85", 512, 36, False, {"bram": 1}),
        ("ecp5-85", 512, 37, False, {"bram": 2}),
        ("ecp5-85", 16384, 1, True, {"bram": 1}),
        ("ecp5-85", 16385, 1, True, {"bram": 2}),
        ("zu7ev", 32, 14, False, {"lut": 8}),  # one RAM32M16
        ("zu7ev", 64, 14, False, {"lut": 16}),  # two RAM64M8
        ("zu7ev", 65, 18, False, {"bram": 0.5}),  # a RAMB18E2
        ("zu7ev", 512, 72, False, {"bram": 1}),
        ("zu7ev", 1024, 32, True, {"bram": 1}),
        ("zu7ev", 4096, 72, True, {"bram": 8}),
        ("zu7ev", 4096, 72, False, {"uram": 1}),
        ("zu7ev", 8192, 144, False, {"uram": 4}),
    ],
)
def test_fpga_memories_take_these_primitives(
    name: str, words: int, bits: int, constant: bool, taken: dict[str, float]
) -> None:
    assert dict(memory_sizes(memory(words, bits, constant=constant), load_platform(name)).amounts) == taken


def test_constants_never_lie_in_ultraram() -> None:
    words, bits = np.meshgrid(2 ** np.arange(1, 18), [1, 7, 64, 72, 300, 1024])
    for name in ("zu7ev", "u55c"):
        platform = load_platform(name)
        free, constant = (memory_amounts(words, bits, platform, constant=each) for each in (False, True))
        assert (constant["uram"] == 0).all()
        assert (free["uram"] > 0).any()
        assert (constant["bram"] >= free["bram"]).all()
        # UltraRAM is taken where it is the smaller part of what there is.
        ultra = free["uram"] > 0
        part = {each: platform.budget[each].value for each in ("uram", "bram")}
        assert (free["uram"] / part["uram"] < constant["bram"] / part["bram"])[ultra].all()


def test_blocks_hold_all_bits_and_an_access_enables_all_of_a_word() -> None:
    random = np.random.default_rng(11)
    for name in FPGAS:
        platform = load_platform(name)
        assert isinstance(platform, FpgaPlatform)
        for words, bits in zip(random.integers(65, 20_000, 100), random.integers(1, 600, 100), strict=True):
            shape = memory(int(words), int(bits), constant=True)
            blocks = memory_sizes(shape, platform)["bram"]
            assert blocks * platform.memory.block.capacity.value >= shape.capacity
            read, _ = memory_access_energy(shape, platform)
            if platform.memory.block.energy is None:
                assert read is None
            else:
                widest = max(row[0] / row[2] for row in platform.memory.block.shapes.rows)
                enabled = (read or 0.0) / platform.memory.block.energy.value
                assert bits / widest <= enabled + 1e-9 <= blocks + 1e-6


def test_an_access_enables_all_blocks_beside_each_other() -> None:
    zu7ev = load_platform("zu7ev")
    for words, bits, enabled in ((512, 72, 1), (512, 144, 2), (4096, 72, 8), (8192, 72, 8), (1024, 18, 0.5)):
        read, write = memory_access_energy(memory(words, bits, constant=True), zu7ev)
        assert read == write == pytest.approx(enabled * 20.6)
    # Of memories of LUTs above each other one is accessed.
    for words, bits, luts in ((32, 14, 8), (64, 14, 16), (16, 3, 4)):
        assert memory_access_energy(memory(words, bits), zu7ev)[0] == pytest.approx(luts * 0.272)


# All.
@pytest.mark.parametrize("name", known_platforms())
def test_more_words_or_bits_never_take_less(name: str) -> None:
    platform = load_platform(name)
    random = np.random.default_rng(7)
    for _ in range(40):
        words, bits = int(random.integers(65, 5000)), int(random.integers(1, 300))
        more = memory(words + int(random.integers(0, 3000)), bits + int(random.integers(0, 300)), constant=True)
        for resource in platform.budget:
            less = memory_sizes(memory(words, bits, constant=True), platform)[resource]
            assert memory_sizes(more, platform)[resource] >= less * (1 - 1e-12)


@pytest.mark.parametrize("name", ASICS)
def test_accesses_of_larger_or_wider_memories_never_cost_less(name: str) -> None:
    platform = load_platform(name)
    for fixed in (8, 64, 512):
        for grown in (
            [memory(words, fixed) for words in 2 ** np.arange(8, 20)],
            [memory(4096, bits) for bits in range(fixed, 8 * fixed, fixed)],
        ):
            energies = [memory_access_energy(each, platform) for each in grown]
            assert all(b >= a > 0 for first, then in pairwise(energies) for a, b in zip(first, then, strict=True))


@pytest.mark.parametrize("name", known_platforms())
def test_arrays_are_what_single_memories_are(name: str) -> None:
    platform = load_platform(name)
    random = np.random.default_rng(2)
    words, bits = random.integers(0, 9000, (3, 40)), random.integers(0, 400, (3, 40))
    constant = random.random((3, 40)) < 0.5
    amounts = memory_amounts(words, bits, platform, constant=constant)
    reads, writes = memory_access_energies(words, bits, platform, constant=constant)
    for index in np.ndindex(words.shape):
        shape = memory(int(words[index]), int(bits[index]), constant=bool(constant[index]))
        assert {name: each[index] for name, each in amounts.items() if each[index]} == dict(
            memory_sizes(shape, platform).amounts
        )
        for one, many in zip(memory_access_energy(shape, platform), (reads[index], writes[index]), strict=True):
            assert np.isnan(many) if one is None else one == many
    assert set(amounts) <= set(platform.budget)


def test_what_is_not_known_has_no_figure() -> None:
    assert memory_access_energy(memory(1024, 64), load_platform("ecp5-85")) == (None, None)
    assert memory_access_energy(memory(4096, 72), load_platform("zu7ev")) == (None, None)  # UltraRAM
    assert None not in memory_access_energy(memory(4096, 72, constant=True), load_platform("zu7ev"))
    assert memory_access_energy(memory(0, 72), load_platform("ecp5-85")) == (0, 0)


def test_capacity_by_kind() -> None:
    assert onchip_bits(load_platform("ecp5-85")) == {"distributed": 41820 * 64 / 6, "block": 208 * 18 * 1024}
    zu7ev = onchip_bits(load_platform("zu7ev"))
    assert (zu7ev["block"], zu7ev["ultra"]) == (312 * 36 * 1024, 96 * 288 * 1024)
    half = onchip_bits(load_platform("zu7ev").with_budget(bram=156))
    assert (half["block"], half["ultra"]) == (zu7ev["block"] / 2, zu7ev["ultra"])
    for name in ASICS:
        platform = load_platform(name)
        bits = onchip_bits(platform)["sram"]
        # So many bits just fit: in macros of the largest kind, and one more.
        assert isinstance(platform, AsicPlatform)
        macro = platform.memory.sram
        area = bits * macro.bit.value + np.ceil(bits / macro.maximum.value) * macro.macro.value
        assert area <= platform.budget["area"].value * (1 + 1e-9)
        assert area >= platform.budget["area"].value - macro.macro.value - 1e-6


def test_leakage_is_of_bits_or_registers() -> None:
    sg13g2 = load_platform("sg13g2")
    assert memory_leakage(memory(1024, 64), sg13g2) == pytest.approx(792.06e-9, rel=1e-3)  # of IHP's liberty file
    assert isinstance(sg13g2, AsicPlatform)
    assert sg13g2.static.logic is not None
    registers = 16 * sg13g2.register_area * sg13g2.static.logic.value
    assert memory_leakage(memory(2, 8), sg13g2) == pytest.approx(registers)
    assert memory_leakage(memory(1024, 64), load_platform("zu7ev")) == 0
