"""Energy: published anchors, sums, counts by walking over tokens, and faults."""

from dataclasses import replace

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.hardware import known_platforms, load_platform
from mxhw.hardware.components import component, measured_units
from mxhw.hardware.energy import (
    EnergyBreakdown,
    looked_at,
    memory_accesses,
    offchip_energy,
    relative_activity,
    static_energy,
    static_power,
    unit_energy,
)
from mxhw.hardware.platform import AsicPlatform, FpgaPlatform, memory_access_energy
from mxhw.hardware.platform.records import Static
from mxhw.hardware.sizes.resources import NOTHING, Resources
from mxhw.hardware.structure import MemoryShape, Product, ReLU, Requantize, Scores, SoftmaxWeights, Unit, Values

RELU = ReLU(length=64, lanes=4, bits=8)
SCALED = Requantize(
    length=64,
    lanes=4,
    input_bits=24,
    reduced_bits=20,
    multiplier_bits=16,
    output_bits=8,
    constant_words=16,
    constant_bits=96,
)
PRODUCT = Product(
    family="bitmod", weight_type="fp4", terms=2, lanes=4, rows=2, columns=4, n=32, k=64, block=32, code_bits=4,
    input_bits=8, metadata_bits=10, input_metadata_bits=0, accumulator_bits=28, output_bits=28,
)  # fmt: skip
SCORES = Scores(
    heads=4, kv_heads=2, head_dim=16, lanes=4, keys=32, most=32, code_bits=8, scale_bits=8, query_bits=8, score_bits=24
)
VALUES = Values(
    heads=4,
    kv_heads=2,
    head_dim=16,
    lanes=4,
    keys=32,
    most=12,
    code_bits=8,
    scale_bits=8,
    weight_bits=8,
    output_bits=24,
)
SOFTMAX = SoftmaxWeights(heads=4, most=32, score_bits=24, weight_bits=8, table_words=64, table_bits=20)
UNITS = (RELU, SCALED, PRODUCT, SCORES, VALUES, SOFTMAX)
AREA = Resources({"area": 1000.0})
FABRIC = Resources({"lut": 100.0, "ff": 50.0})


def sizes(name: str) -> Resources:
    return AREA if isinstance(load_platform(name), AsicPlatform) else FABRIC


# Published anchors.
def test_blockdialect_array_spends_its_published_power() -> None:
    """BlockDialect, Table 7: 32 MACs of 41,319.6 um2 in all take 2.2 mW at 100 MHz."""
    sg13g2 = load_platform("sg13g2")
    second = unit_energy(RELU, 0, 0, sg13g2, Resources({"area": 41_319.6}), sg13g2.clock.value)
    assert second.total is not None
    assert second.total * 1e-12 == pytest.approx(2.2e-3, rel=1e-3)


def test_bitmod_array_spends_its_published_energy() -> None:
    """BitMoD: 0.586 pJ a cycle and element of 1793.7 um2; 1,024 of them."""
    bitmod = load_platform("bitmod-28nm")
    assert isinstance(bitmod, AsicPlatform)
    array = unit_energy(RELU, 0, 0, bitmod, Resources({"area": 1024 * 1793.7}), 1)
    assert array.total == pytest.approx(1024 * 0.586)
    ours = measured_units("asap7")["bitmod_pe"].size * bitmod.area_scale
    assert unit_energy(RELU, 0, 0, bitmod, Resources({"area": ours}), 1).total == pytest.approx(0.586)
    assert {name: element.energy.value for name, element in bitmod.element.items()} == {
        "fp16": 0.77,
        "ant": 0.56,
        "olive": 0.613,
        "bitmod": 0.56,
    }
    assert offchip_energy(64, bitmod.main_memory).total == pytest.approx(1200)


def test_bitmod_buffers_are_near_those_that_the_paper_solved_for() -> None:
    from mxhw.hardware.published.bitmod_accelerators import BUFFER_COSTS

    bitmod = load_platform("bitmod-28nm")
    read, _ = memory_access_energy(MemoryShape("buffer", 512 * 1024 * 8 // 192, 192), bitmod)
    assert read == pytest.approx(BUFFER_COSTS[192][0], rel=0.1)


def test_int8_mac_spends_the_published_operations() -> None:
    """Jouppi et al., Table 2: int8 multiply 0.07 pJ and int32 add 0.03 pJ at 7 nm; 64-bit reads of SRAM."""
    asap7 = load_platform("asap7")
    mac = Resources({"area": component("asap7", "int8_mac").size})
    assert unit_energy(RELU, 0, 0, asap7, mac, 1).total == pytest.approx(0.07 + 0.03)
    for kilobytes, energy in ((8, 7.5), (32, 8.5)):
        read, _ = memory_access_energy(MemoryShape("sram", kilobytes * 128, 64), asap7)
        assert read == pytest.approx(energy, rel=0.1)


# What a breakdown is.
@pytest.mark.parametrize("name", ["asap7", "sg13g2", "bitmod-28nm"])
def test_terms_add_up(name: str) -> None:
    platform = load_platform(name)
    for unit in UNITS:
        spent = unit_energy(unit, 5, 3, platform, sizes(name), 1000)
        spent += offchip_energy(4096, platform.main_memory)
        spent += static_energy(platform, sizes(name), unit.memories(), 1e-6)
        assert spent.total == pytest.approx(sum(spent.terms.values()))
        assert set(spent.terms) == {"logic", "off-chip", "static", *(shape.name for shape in unit.memories())}
        assert (spent + spent).total == pytest.approx((spent * 2).total)
        assert (spent * 0).total == 0


@pytest.mark.parametrize("name", known_platforms())
def test_tokens_add_up(name: str) -> None:
    platform = load_platform(name)
    for unit in UNITS:
        whole = unit_energy(unit, 30, 2, platform, sizes(name), 300)
        parts = [unit_energy(unit, 1, 2 + token, platform, sizes(name), 10) for token in range(30)]
        assert whole.known == pytest.approx(sum(part.known for part in parts))
        assert whole.unknown == frozenset().union(*(part.unknown for part in parts))


def test_logic_goes_with_area_cycles_and_activity() -> None:
    asap7 = load_platform("asap7")
    once = unit_energy(RELU, 1, 0, asap7, AREA, 100).terms["logic"]
    assert once > 0
    assert unit_energy(RELU, 1, 0, asap7, AREA * 3, 100).terms["logic"] == pytest.approx(3 * once)
    assert unit_energy(RELU, 1, 0, asap7, AREA, 400).terms["logic"] == pytest.approx(4 * once)
    assert unit_energy(RELU, 1, 0, asap7, AREA, 100, activity=0.25).terms["logic"] == pytest.approx(once / 4)
    # Memories do not.
    assert unit_energy(SCALED, 1, 0, asap7, AREA, 100, 0.5).terms["constants"] == pytest.approx(
        unit_energy(SCALED, 1, 0, asap7, AREA, 900).terms["constants"]
    )


def test_a_memory_is_charged_for_each_of_its_words() -> None:
    sg13g2 = load_platform("sg13g2")
    for shape in PRODUCT.memories():
        read, write = memory_access_energy(shape, sg13g2)
        assert read is not None
        assert write is not None
        spent = unit_energy(PRODUCT, 7, 0, sg13g2, NOTHING, 0).terms[shape.name]
        assert spent == pytest.approx(7 * (shape.reads * read + shape.writes * write))
        assert spent > 0


# Caches.
def test_keys_looked_at_are_counted_as_by_walking() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        tokens, start, most = (int(random.integers(0, 40)) for _ in range(3))
        assert looked_at(tokens, start, most + 1) == sum(
            min(position + 1, most + 1) for position in range(start, start + tokens)
        )


def test_caches_are_read_for_every_key_that_a_token_meets() -> None:
    for unit, most in ((SCORES, 32), (VALUES, 12)):
        for position in (0, 5, 20, 31):
            counts = dict(zip((s.name for s in unit.memories()), memory_accesses(unit, 1, position), strict=True))
            keys = min(position + 1, most)
            assert counts["cache"].reads == 4 * keys * 4  # heads, keys, words of a head
            assert counts["scales"].reads == 4 * keys
            assert (counts["cache"].writes, counts["scales"].writes) == (2 * 4, 2)
            away = memory_accesses(replace(unit, outside=True), 1, position)
            assert (away[0].reads, away[0].writes) == (counts["cache"].reads, 2 * 4 * (keys + 1))


def test_softmax_keeps_and_weighs_every_score() -> None:
    for position, keys in ((0, 1), (7, 8), (40, 32)):
        row, table = memory_accesses(SOFTMAX, 1, position)
        assert (row.reads, row.writes, table.reads, table.writes) == (4 * keys, 4 * keys, 4 * keys, 0)


def test_attention_spends_more_at_later_positions_until_its_window() -> None:
    asap7 = load_platform("asap7")
    for unit, most in ((SCORES, 32), (VALUES, 12), (SOFTMAX, 32)):
        spent = [unit_energy(unit, 1, position, asap7, NOTHING, 0).known for position in range(32)]
        assert (np.diff(spent[:most]) > 0).all()
        assert np.diff(spent[most - 1 :]) == pytest.approx(0)


def test_names_that_grow_are_those_of_the_units() -> None:
    """A memory that is renamed in its record would fall back to the counts of its shape, which are none."""
    for unit in (SCORES, VALUES, replace(VALUES, banks=3, lanes=2), SOFTMAX):
        counts = zip(unit.memories(), memory_accesses(unit, 1, 4), strict=True)
        assert all(count.reads > 0 for shape, count in counts), unit


def test_a_unit_of_ones_own_is_charged_by_its_shapes() -> None:
    class Own(Unit):
        def memories(self) -> tuple[MemoryShape, ...]:
            return (MemoryShape("mine", 1024, 64, reads=2, writes=1),)

    sg13g2 = load_platform("sg13g2")
    assert unit_energy(Own(), 10, 0, sg13g2, NOTHING, 0).total == pytest.approx(10 * (2 * 91.83 + 110.92), rel=0.02)


# What is not known.
def test_what_has_no_figure_is_named_and_has_no_total() -> None:
    ecp5, zu7ev = load_platform("ecp5-85"), load_platform("zu7ev")
    spent = unit_energy(SCALED, 3, 0, ecp5, FABRIC, 10)
    assert (spent.total, spent.unknown) == (None, {"logic", "constants"})
    spent = unit_energy(SCALED, 3, 0, zu7ev, FABRIC, 10)
    assert not spent.unknown
    assert spent.terms["logic"] == pytest.approx(10 * (100 * 0.0312 + 50 * 0.0381))
    blocks = unit_energy(SCALED, 3, 0, zu7ev, FABRIC + Resources({"dsp": 1.0}), 10)
    assert blocks.unknown == {"logic"}
    assert (blocks + spent).total is None
    assert (blocks + spent).known == pytest.approx(blocks.known + spent.known)
    assert unit_energy(SCALED, 0, 0, ecp5, NOTHING, 10).total == 0  # no memory is accessed, no logic is there
    assert offchip_energy(8, None).unknown == {"off-chip"}
    assert offchip_energy(0, None).total == 0
    asap7 = replace(load_platform("asap7"), static=Static())
    assert static_energy(asap7, AREA, (), 1).unknown == {"static"}
    assert static_power(asap7, NOTHING, ()) == 0


def test_static_power_is_of_what_there_is() -> None:
    sg13g2, zu7ev = load_platform("sg13g2"), load_platform("zu7ev")
    memories = (MemoryShape("sram", 1024, 64),) * 2
    assert static_power(sg13g2, AREA, memories) == pytest.approx(1000 * 1.38e-11 + 2 * 792.06e-9, rel=1e-3)
    assert isinstance(zu7ev, FpgaPlatform)
    assert static_power(zu7ev, FABRIC, memories) == static_power(zu7ev, NOTHING, ()) == 0.694
    assert static_energy(zu7ev, FABRIC, memories, 2e-6).total == pytest.approx(0.694 * 2e6)


def test_activity_relative_to_the_platforms() -> None:
    assert relative_activity(0.0625, load_platform("zu7ev")) == 0.5
    asap7 = load_platform("asap7")
    assert relative_activity(0.5, asap7) == 1.0  # unrelated data in every cycle
    assert isinstance(asap7, AsicPlatform) and asap7.energy is not None
    with pytest.raises(InputError, match=r"'asap7' has no 'energy.activity'"):
        relative_activity(0.1, replace(asap7, energy=replace(asap7.energy, activity=None)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": -1}, "tokens must be 0 or more, not -1"),
        ({"start": -2}, "start must be 0 or more, not -2"),
        ({"active_cycles": -1.5}, "active_cycles must be 0 or more, not -1.5"),
        ({"activity": float("nan")}, "activity must be 0 or more, not nan"),
    ],
)
def test_bad_numbers_are_refused(change: dict[str, float], said: str) -> None:
    given = {"tokens": 1, "start": 0, "active_cycles": 1.0, "activity": 1.0} | change
    with pytest.raises(InputError, match=said):
        unit_energy(RELU, platform=load_platform("asap7"), sizes=AREA, **given)  # type: ignore[arg-type]


def test_an_empty_breakdown_is_nothing() -> None:
    assert EnergyBreakdown().total == 0
    assert (EnergyBreakdown() + EnergyBreakdown({"logic": 2.0})).terms == {"logic": 2.0}
