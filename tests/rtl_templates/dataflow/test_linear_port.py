"""A linear unit whose weights come through a port equals the folded operation, whatever stalls; faults are caught."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from amaranth import hdl
from amaranth.lib import wiring

from mxhw.arithmetic.dataflow import TakeShare, Words
from mxhw.errors import InputError
from mxhw.rtl_templates.control import TakeShareUnit
from mxhw.rtl_templates.dataflow import LinearUnit
from mxhw.rtl_templates.gemm import sequencer
from mxhw.rtl_templates.gemm import unit as gemm_unit
from mxhw.rtl_templates.memory import LayerLoader, LayerWords
from mxhw.sim.beats import to_ints
from tests.rtl_templates.bank import Bench, damaged
from tests.rtl_templates.dataflow.streams import code_beats, integer_beats
from tests.rtl_templates.dataflow.test_linear_layers import CASES as LAYERS
from tests.rtl_templates.dataflow.test_linear_layers import Case

RUNS = [(0.0, 0), (0.3, 1), (0.6, 2), (0.5, 3)]
TOKENS = 14


@dataclass(frozen=True)
class Loaded:
    """A case of :mod:`test_linear_layers`, and the bits of its port."""

    case: Case
    port: int

    @property
    def unit(self) -> LinearUnit:
        return LinearUnit.of_layers(self.case.layers, columns=self.case.columns, lanes=self.case.lanes, port=self.port)

    def words(self, layers: list[int]) -> list[int]:
        """What comes for tokens of these layers: those of a layer once for tokens that follow each other."""
        runs = [layer for at, layer in enumerate(layers) if at == 0 or layers[at - 1] != layer]
        beats = self.unit.words_of(*self.case.layers)[runs].reshape(-1, -(-self.port // 32))
        return to_ints(beats)

    def beats(self, seed: int) -> tuple[dict[str, list[int]], list[int]]:
        """Beats of the inputs, and of y as they should be; layers stay for some tokens, and change."""
        case = self.case
        values, _ = case.inputs(seed, TOKENS)
        generator = torch.Generator().manual_seed(seed + 7)
        layers = [0]
        for move in torch.randint(0, 2, (TOKENS - 1,), generator=generator).tolist():
            layers.append((layers[-1] + move) % len(case.layers))
        y = integer_beats(case.folded.run(values, torch.tensor([layers])), case.folded.output.bits, case.columns)
        x = code_beats(case.layers[0].x, values, case.lanes)
        return {"x": x, "layer": layers, "words": self.words(layers)}, y


# Words of memories that are wider and narrower than a beat, that fill it and do not; with and without metadata.
CASES = {
    "bitmod_mixed": Loaded(LAYERS["bitmod_mixed_padded"], 64),
    "bitmod_narrow": Loaded(LAYERS["bitmod_mixed_padded"], 12),
    "fp3_in_int4": Loaded(LAYERS["fp3_in_int4"], 128),
    "int_mixed": Loaded(LAYERS["int_mixed"], 8),
    "one_word": Loaded(LAYERS["int8_one_tile"], 64),
    "dialect": Loaded(LAYERS["dialect_padded"], 64),
    "dialect_narrow": Loaded(LAYERS["dialect_loads"], 5),
}


SHARES = {"middle": (3, 4), "first": (0, 4), "last": (4, 1), "all": (0, 10), "one": (0, 1)}
PERIODS = {"middle": 10, "first": 10, "last": 5, "all": 10, "one": 1}


def without_switch(_: Any) -> hdl.Array:
    """Both halves are read where half 0 lies."""
    return hdl.Array([0, 0])


class HastyLoader(LayerLoader):
    """Says that both halves are loaded, whatever has come."""

    def elaborate(self, platform: Any) -> hdl.Module:
        m = hdl.Module()
        m.submodules.inner = inner = LayerLoader(memories=self._memories)
        wiring.connect(m, wiring.flipped(self.words), inner.words)
        m.d.comb += [self.loaded.eq(3), inner.release.eq(self.release)]
        for index in range(len(self._memories)):
            for name in ("address", "enable"):
                m.d.comb += getattr(inner, f"{name}{index}").eq(getattr(self, f"{name}{index}"))
            m.d.comb += getattr(self, f"data{index}").eq(getattr(inner, f"data{index}"))
        return m


@pytest.fixture(scope="module")
def bench() -> Bench:
    units: dict[str, Any] = {name: case.unit for name, case in CASES.items()}
    for name, (start, count) in SHARES.items():
        units[name] = TakeShareUnit(bits=8, period=PERIODS[name], start=start, count=count)
    return Bench(units)


@pytest.fixture(scope="module")
def faulty() -> Bench:
    """Units with a planted fault."""
    units = [CASES[name].unit for name in ("bitmod_mixed", "dialect") * 2]
    return Bench(
        {
            "never_bitmod_mixed": damaged(units[0], sequencer, Array=without_switch),
            "never_dialect": damaged(units[1], sequencer, Array=without_switch),
            "early_bitmod_mixed": damaged(units[2], gemm_unit, LayerLoader=HastyLoader),
            "early_dialect": damaged(units[3], gemm_unit, LayerLoader=HastyLoader),
        }
    )


def test_verilator_has_no_complaint(bench: Bench) -> None:
    assert bench.complaints() == ""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stall,seed", RUNS)
def test_sums_are_those_of_the_token_s_layer(bench: Bench, name: str, stall: float, seed: int) -> None:
    inputs, y = CASES[name].beats(seed)
    assert bench.y(name, inputs, len(y), stall=stall, seed=seed) == y


@pytest.mark.parametrize("name", CASES)
def test_the_next_layer_comes_while_tokens_meet_the_one_before(bench: Bench, name: str) -> None:
    """Of all loads only the first one costs cycles where tokens work longer than a load takes."""
    loaded = CASES[name]
    load = sum(each.cycles for each in loaded.unit.gemm.loads)
    values, _ = loaded.case.inputs(0, TOKENS)
    per_token = loaded.unit.interval
    repeats = max(1, -(-load // int(per_token)) + 1)
    layers = [at // repeats % len(loaded.case.layers) for at in range(TOKENS)]
    x = code_beats(loaded.case.layers[0].x, values, loaded.case.lanes)
    y = integer_beats(
        loaded.case.folded.run(values, torch.tensor([layers])), loaded.case.folded.output.bits, loaded.case.columns
    )
    run = bench.run(name, {"x": x, "layer": layers, "words": loaded.words(layers)}, len(y))
    assert run.ints("y") == y
    least = loaded.unit.cycles(TOKENS)
    late = run.cycles - least
    assert repeats * 2 <= TOKENS, "there is more than one load"
    assert 0 <= late <= load + 2


@pytest.mark.parametrize("name", ["bitmod_mixed", "dialect"])
def test_a_changed_word_is_caught(bench: Bench, name: str) -> None:
    inputs, y = CASES[name].beats(1)
    loads = CASES[name].unit.gemm.loads
    for at in (0, loads[0].beats):  # a weight, a piece of metadata
        words = list(inputs["words"])
        words[at] ^= 1
        assert bench.y(name, inputs | {"words": words}, len(y), stall=0.3, seed=1) != y


@pytest.mark.parametrize("fault", ["never", "early"])
@pytest.mark.parametrize("name", ["bitmod_mixed", "dialect"])
def test_halves_that_are_never_switched_or_too_early_are_caught(faulty: Bench, name: str, fault: str) -> None:
    inputs, y = CASES[name].beats(2)
    assert faulty.y(f"{fault}_{name}", inputs, len(y)) != y


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("stall,seed", RUNS)
def test_a_share_passes_and_the_rest_does_not(bench: Bench, name: str, stall: float, seed: int) -> None:
    period, (start, count) = PERIODS[name], SHARES[name]
    words = np.random.default_rng(seed).integers(0, 256, (5, period))
    y = words[:, start : start + count].flatten().tolist()
    run = bench.run(name, {"x": words.flatten().tolist()}, len(y), stall=stall, seed=seed)
    assert run.ints("y") == y
    shares = tuple(size for size in (start, count, period - start - count) if size)
    operation = TakeShare(x=Words(bits=8, shares=shares), share=int(start > 0))
    assert operation.run(torch.from_numpy(words)[None, :, :, None]).flatten().tolist() == y
    if not stall:
        assert run.cycles == 5 * period - (period - start - count)


@pytest.mark.parametrize(
    "width,depth,bits", [(24, 5, 64), (64, 3, 64), (130, 4, 64), (7, 20, 5), (1, 9, 4), (80, 3, 128)]
)
def test_words_lie_in_beats_at_whole_places(width: int, depth: int, bits: int) -> None:
    load = LayerWords(width, depth, bits)
    digits = np.random.default_rng(width).integers(0, 2, (depth, width)).astype(np.uint8)
    words = [sum(int(bit) << place for place, bit in enumerate(row)) for row in digits]
    if width > bits:
        parts = -(-width // bits)
        want = [word >> bits * part & (1 << bits) - 1 for word in words for part in range(parts)]
    else:
        many = bits // width
        rows = [words[at : at + many] for at in range(0, depth, many)]
        want = [sum(word << width * place for place, word in enumerate(row)) for row in rows]
    assert to_ints(load.pack(digits)) == want
    assert load.beats == len(want)


def test_bad_parameters_are_refused() -> None:
    layers = LAYERS["int8_one_tile"].layers
    with pytest.raises(InputError, match="layers must be 2 or more where their words come through a port, not 1"):
        LinearUnit.of_layers(layers[:1], port=64)
    with pytest.raises(InputError, match="port must be an integer of at least 1, not 0"):
        LinearUnit.of_layers(layers, port=0)
    with pytest.raises(InputError, match="start \\+ count must be at most the 10 beats of a layer, not 11"):
        TakeShareUnit(bits=8, period=10, start=7, count=4)
    with pytest.raises(InputError, match="share must be below the 2 shares"):
        TakeShare(x=Words(bits=8, shares=(1, 2)), share=2)
