"""The BitMoD paper's figures come out of its rules, corrections do what they say, ratios are those of the tables."""

from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaConfig

from mxhw.errors import InputError
from mxhw.hardware.components import measured_units
from mxhw.hardware.published import (
    ACCELERATORS,
    ANT,
    CORRECTIONS,
    DIALECT,
    FP16,
    LOSSLESS,
    LOSSY,
    MODELS,
    OLIVE,
    TABLE_5,
    Accelerator,
    Corrections,
    Cost,
    ModelShape,
    area_ratios,
    bitmod_simulator,
    correction_rows,
    decode_cost,
    energy_rows,
    mean_rows,
    measured_ratios,
    model_named,
    prefill_cost,
    stricter_costs,
    total_rows,
    units_compared,
)
from mxhw.hardware.published.bitmod_accelerators import BUFFER_COSTS, BUS_BYTES, LAYOUT_FACTOR
from mxhw.hardware.published.bitmod_corrections import applied_up_to
from mxhw.hardware.published.bitmod_figures import CYCLES, ENERGIES, LATER_CYCLES
from mxhw.hardware.published.bitmod_simulator import attention_products, fetches, linear_products
from mxhw.synthesis import parse_unit

CONTEXT, STEPS = 256, 20  # the paper's
PAPER: dict[str, tuple[int, Callable[[ModelShape, Accelerator], Cost]]] = {
    "prefill": (CONTEXT, prefill_cost),
    "decode": (1, decode_cost),
}
every_accelerator = pytest.mark.parametrize("accelerator", ACCELERATORS, ids=lambda each: each.name)
every_phase = pytest.mark.parametrize("phase", PAPER)


def cycles(accelerator: Accelerator, phase: str) -> tuple[int, ...]:
    return tuple(PAPER[phase][1](model, accelerator).cycles for model in MODELS)


@every_accelerator
@every_phase
def test_all_totals_are_the_plotted_ones_to_the_cycle(accelerator: Accelerator, phase: str) -> None:
    assert cycles(accelerator, phase) == CYCLES[accelerator.name][phase]


def test_the_twelve_totals_of_the_design_notes_are_among_them(shared: Path) -> None:
    text = (shared / "design" / "bitmod.md").read_text()
    for name in ("Llama-2-7B", "Llama-3-8B"):
        for phase in PAPER:
            totals = [CYCLES[each.name][phase][MODELS.index(model_named(name))] for each in (FP16, LOSSLESS, LOSSY)]
            assert " / ".join(map(str, totals)) in text.replace("\n", " ")


@pytest.mark.parametrize(
    "change",
    [{"dot_product": 2}, {"dot_product": 8}, {"prefill_bits": 4.0}, {"is_serial": False}, {"prefill": FP16.prefill}],
    ids=str,
)
def test_other_accelerators_have_other_totals(monkeypatch: pytest.MonkeyPatch, change: dict[str, object]) -> None:
    monkeypatch.setattr(bitmod_simulator, "buffer_cost", lambda port: (0.0, 0.0))  # their ports are others
    assert cycles(replace(LOSSY, **change), "prefill") != CYCLES[LOSSY.name]["prefill"]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "rule",
    [
        lambda weights, inputs: (1, 1),
        lambda weights, inputs: fetches(weights, inputs, 256 * 1024),
        lambda weights, inputs: (
            fetches(inputs, weights)[::-1] if weights < inputs else (1, fetches(weights, inputs)[1])
        ),
    ],
    ids=["nothing twice", "half a buffer", "always the inputs"],
)
def test_another_rule_of_refetching_has_other_totals(
    monkeypatch: pytest.MonkeyPatch, rule: Callable[[int, int], tuple[int, int]]
) -> None:
    monkeypatch.setattr(bitmod_simulator, "fetches", rule)
    assert cycles(FP16, "prefill") != CYCLES["FP16"]["prefill"]


def test_what_is_read_twice_is_what_moves_less() -> None:
    drawn = np.random.default_rng(0).integers(1, 1 << 24, size=(500, 2)).tolist()
    for weights, inputs in drawn:
        times = fetches(weights, inputs)
        parts = (ceil(inputs / (1 << 19)), ceil(weights / (1 << 19)))
        if 1 in parts:
            assert times == (1, 1)
        else:
            moved = times[0] * weights + times[1] * inputs
            assert moved == min(parts[0] * weights + inputs, weights + parts[1] * inputs)


@pytest.mark.parametrize(("accelerator", "bits"), [(ANT, 5.5), (OLIVE, 4.5)], ids=["ANT", "OliVe"])
def test_no_other_bits_give_the_totals_of_prefill(
    monkeypatch: pytest.MonkeyPatch, accelerator: Accelerator, bits: float
) -> None:
    monkeypatch.setattr(bitmod_simulator, "buffer_cost", lambda port: (0.0, 0.0))
    candidates = [count / 32 for count in range(64, 320)]
    published = CYCLES[accelerator.name]["prefill"]
    assert [each for each in candidates if cycles(replace(accelerator, prefill_bits=each), "prefill") == published] == [
        bits
    ]


def test_energies_are_the_plotted_ones() -> None:
    rows = energy_rows()
    assert len(rows) == 60
    assert max(row.dram_error for row in rows) < 1.0  # both of two rounded figures are half a microjoule off
    assert max(row.chip_error for row in rows) < 0.6


def test_costs_of_buffers_are_what_the_plotted_energies_say() -> None:
    """Solve them again: as many unknowns as ports have reads and writes, as many equations as energies."""
    widths = [width for width in BUFFER_COSTS if width != 576]
    equations, rest = [], []
    for accelerator in ACCELERATORS:
        for phase, (tokens, paper) in PAPER.items():
            for model, (chip, _) in zip(MODELS, ENERGIES[accelerator.name][phase], strict=True):
                ports = accelerator.ports(model, tokens)
                if 576 in ports:
                    continue
                row = dict.fromkeys([(kind, width) for kind in ("read", "write") for width in widths], 0.0)
                for kind, port, count in counts(model, accelerator, tokens, ports):
                    row[kind, port] += count / 1e6
                equations.append(list(row.values()))
                array, cost = accelerator.array(tokens), paper(model, accelerator)
                element = accelerator.element_energy * LAYOUT_FACTOR * array.elements / 1e6
                assert cost.element_energy == pytest.approx(element * cost.array_cycles)
                rest.append(chip - cost.element_energy)
    assert len(rest) == 59
    solved, _, rank, _ = np.linalg.lstsq(np.array(equations), np.array(rest), rcond=None)
    assert rank == 12
    kept = [BUFFER_COSTS[width][kind] for kind in (0, 1) for width in widths]
    assert solved == pytest.approx(kept, abs=6e-5)
    assert BUFFER_COSTS[576][1] == pytest.approx(
        np.interp(576, [512, 1024], [BUFFER_COSTS[w][1] for w in (512, 1024)]), abs=6e-5
    )


def counts(
    model: ModelShape, accelerator: Accelerator, tokens: int, ports: tuple[int, int]
) -> list[tuple[str, int, int]]:
    """Return reads and writes of both ports."""
    array, found = accelerator.array(tokens), []
    for each in (*linear_products(model, accelerator, tokens), *attention_products(model, accelerator, tokens)):
        weights, inputs = fetches(each.weight_bytes, each.input_bytes)
        tiles = ceil(each.outputs / array.rows) * ceil(each.tokens / array.columns)
        steps = tiles * ceil(each.reduction / accelerator.dot_product)
        written = (weights * each.weight_words, inputs * each.input_words + each.output_words)
        for port, words in zip(ports, written, strict=True):
            found += [("read", port, each.layers * steps), ("write", port, each.layers * words)]
    return found


def test_a_port_of_unknown_cost_is_refused() -> None:
    with pytest.raises(InputError, match="port of 2048 bits is not known; known are ports of 192, 256"):
        prefill_cost(MODELS[0], replace(LOSSY, dot_product=8))


def test_means_are_the_published_ones() -> None:
    for row in mean_rows():
        if row.quantity == "speed-up":
            digits = 3 if row.over == "FP16" else 2
            assert round(row.reproduced, digits) == row.published
        else:
            assert row.reproduced == pytest.approx(row.published, rel=0.011)
        assert row.stricter == pytest.approx(row.published, rel=0.06)


def test_shapes_are_those_of_the_configurations() -> None:
    llama, shape = LlamaConfig(), model_named("Llama-2-7B")
    assert (shape.hidden, shape.intermediate, shape.layers) == (
        llama.hidden_size,
        llama.intermediate_size,
        llama.num_hidden_layers,
    )
    assert (shape.heads, shape.kv_heads, shape.vocabulary) == (
        llama.num_attention_heads,
        llama.num_key_value_heads,
        llama.vocab_size,
    )
    for model, billions in zip(MODELS, (1.3, 2.7, 6, 6.7, 13, 8), strict=True):  # what they are named after
        linears = model.layers * sum(rows * columns for _, rows, columns in model.linears())
        assert linears / 1e9 + model.vocabulary * model.hidden / 1e9 == pytest.approx(billions, rel=0.07)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"no model 'Llama-2-7b' in the BitMoD paper.*did you mean 'Llama-2-7B'"):
        model_named("Llama-2-7b")


@every_accelerator
def test_without_corrections_the_stricter_model_is_the_papers(accelerator: Accelerator) -> None:
    for model in MODELS:
        stricter = stricter_costs(model, accelerator, Corrections())
        assert len(stricter.steps) == STEPS
        for ours, paper in ((stricter.prefill, prefill_cost), (stricter.decode, decode_cost)):
            theirs = paper(model, accelerator)
            assert (ours.cycles, ours.array_cycles, ours.dram_bytes) == (
                theirs.cycles,
                theirs.array_cycles,
                theirs.dram_bytes,
            )
            assert ours.energy == pytest.approx(theirs.energy, rel=1e-12)
        assert len({step.cycles for step in stricter.steps}) == 1


def test_attention_by_head_in_8_bits_is_what_the_authors_simulate_since() -> None:
    """Figures that were not fitted: of another version of the authors' simulator."""
    for accelerator in (FP16, LOSSLESS, LOSSY):
        costs = stricter_costs(model_named("Llama-2-7B"), accelerator, Corrections(heads=True, cache=True))
        assert (costs.prefill.cycles, costs.decode.cycles) == LATER_CYCLES[accelerator.name]


def test_corrections_are_applied_one_after_the_other() -> None:
    assert [each.name for each in fields(Corrections)] == [each.field for each in CORRECTIONS]
    assert all("\n" not in each.why for each in CORRECTIONS)
    rows = correction_rows(model_named("Llama-2-7B"))
    assert [row.correction for row in rows] == [None, *CORRECTIONS]
    for before, after in pairwise(rows):
        generative = [row.costs[LOSSY.name].generative for row in (before, after)]
        assert generative[0] != generative[1], after.correction


DEARER = {"growing", "bits", "waits", "array", "edges"}


@every_accelerator
def test_what_a_correction_charges_or_saves(accelerator: Accelerator) -> None:
    for model in MODELS:
        costs = [stricter_costs(model, accelerator, applied_up_to(count)) for count in range(len(CORRECTIONS) + 1)]
        for correction, before, after in zip(CORRECTIONS, costs, costs[1:], strict=False):
            for old, new in ((before.prefill, after.prefill), (before.decode, after.decode)):
                if correction.field in DEARER:
                    assert new.cycles >= old.cycles
                    assert new.energy >= old.energy
                if correction.field == "apart":
                    assert new.cycles <= old.cycles
                if correction.field == "ports":
                    assert new.cycles == old.cycles
                    assert new.buffer_energy > old.buffer_energy or not accelerator.is_serial
                assert new.cycles >= new.array_cycles
                assert new.cycles >= new.dram_bytes // BUS_BYTES - 1000  # each layer's is rounded down in the paper


def test_a_longer_cache_costs_its_bits() -> None:
    model = model_named("Llama-3-8B")
    for accelerator in (FP16, LOSSLESS):
        steps = stricter_costs(model, accelerator).steps
        key = model.head_dim * accelerator.cache_bits + (8 if accelerator.cache_bits == 8 else 0)  # and its scale
        stored = 2 * model.kv_heads * key // 8
        scores = 2 * model.heads * 2  # written and read, in two bytes
        grown = {after.dram_bytes - before.dram_bytes for before, after in pairwise(steps)}
        assert grown == {model.layers * (stored + scores)}


def test_ratios_of_macs_are_those_of_the_tables() -> None:
    for mac in TABLE_5:
        assert mac.multiplier_area + mac.accumulator_area <= mac.area
        assert mac.multiplier_power + mac.accumulator_power <= mac.power + 0.02  # three rounded figures
    assert DIALECT.energy == pytest.approx(0.270, abs=5e-4)
    sizes = measured_units("asap7")
    rows = measured_ratios("asap7")
    assert [row.mac for row in rows if row.ours is None] == ["INT5", "DialectFP4 on INT4"]
    for row in rows:
        if row.unit is not None:
            assert row.ours == sizes["dialect_mac"].size / sizes[row.unit].size
    (int8,) = [row for row in rows if row.mac == "INT8"]
    assert int8.published == pytest.approx(0.448, abs=5e-4)


def test_another_size_is_another_ratio() -> None:
    sizes = dict.fromkeys(units_compared(), 2.0)
    assert {row.ours for row in area_ratios(sizes)} == {None, 1.0}
    assert {row.ours for row in area_ratios({**sizes, "dialect_mac": 3.0})} == {None, 1.5}


def test_units_that_sum_as_many_products_can_be_made() -> None:
    for name, unit in units_compared(64).items():
        assert name.split(":")[0] == unit.split(":")[0]
        parameters = parse_unit(unit).parameters
        assert 64 in (parameters.get("k"), parameters.get("block"))


def test_an_unknown_library_is_refused() -> None:
    with pytest.raises(InputError, match=r"library 'asap'; measured are .*did you mean 'asap7'"):
        measured_ratios("asap")


def test_totals_are_given_for_every_model_phase_and_accelerator() -> None:
    rows = total_rows()
    assert len({(row.model, row.phase, row.accelerator) for row in rows}) == 60
    assert all(row.published == row.reproduced for row in rows)
    assert all(row.stricter != row.published for row in rows)
