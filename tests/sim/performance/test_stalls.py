"""Ports that are held up: every beat passes in the cycle in which it does in Verilator."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mxhw.arithmetic.dataflow import Linear, Quantize
from mxhw.errors import InputError
from mxhw.passes.emit.dataflow import timing_products
from mxhw.passes.emit.dataflow.fifos import fifo_depths
from mxhw.passes.emit.dataflow.place import Placed, place_graph
from mxhw.passes.emit.dataflow.timing import Work, time_component
from mxhw.sim.memory import Memory
from mxhw.sim.performance.events import DeadlockError, Events
from mxhw.sim.performance.simulate import Inlet, Outlet, Timed, simulate
from mxhw.sim.performance.stalls import Stalls
from tests.passes.emit.dataflow.blocks import BlockShape, decoder_block
from tests.passes.emit.dataflow.graphs import mlp
from tests.passes.emit.dataflow.test_timing import MORE, POSITIONS, UNITS, beats, placed_alone
from tests.rtl_templates.bank import Benches, slow_ones
from tests.sim.performance.rtl import Pair, differences, drawn_memories, emitted_pair

PROBABILITIES = 0.02, 0.1, 0.3, 0.6, 0.9
PACES = 0.05, 0.3, 0.77, 1.4
FORMATS = ("int8-e8m0", "int8"), ("int8-e8m0", "bitmod4"), ("dialect4-online", "dialect4")


@pytest.fixture(scope="module")
def placed() -> dict[str, Placed]:
    return {name: placed_alone(*unit) for name, unit in UNITS.items()}


@pytest.fixture(scope="module")
def bench(placed: dict[str, Placed]) -> Benches:
    """The same banks as those of stall-free runs, which are compiled once."""
    units = {name.replace(" ", "_"): unit.component for name, unit in placed.items()}
    more = {name: units.pop(name) for name in (name.replace(" ", "_") for name in MORE)}
    return Benches(units, more)


def timed_alone(name: str, unit: Placed, widths: dict[str, int]) -> tuple[Timed, Work]:
    events, work = Events(), Work("unit", UNITS[name][0], unit, POSITIONS)
    component = time_component(events, work)
    inputs = {}
    for port, made in zip(unit.inputs, component.inputs, strict=True):
        stream = f"{name.replace(' ', '_')}__{port.member}"
        inputs[stream] = Inlet(made.taken, (made.needed,), widths[stream])
    output = f"{name.replace(' ', '_')}__y"
    return Timed(events, inputs, {output: Outlet(component.output, widths[output])}), work


def unit_differences(name: str, unit: Placed, bench: Benches, stalls: Stalls, *, memories: bool) -> list[object]:
    module = name.replace(" ", "_")
    widths = {each.name: each.payload.width for each in bench.of(module).library.streams.values()}
    timed, work = timed_alone(name, unit, widths)
    if memories:
        ports = [*timed.inputs, *timed.outputs]
        stalls = replace(stalls, memories=drawn_memories({name: widths[name] for name in ports}, stalls.seed, PACES))
    given = {port.member: beats(port, int(work.input_beats(i).sum())) for i, port in enumerate(unit.inputs)}
    run = bench.run(
        module,
        given,
        int(work.output_beats.sum()),
        stall=stalls.stall,
        seed=stalls.seed,
        memories=stalls.memories,
        times=True,
        fresh=False,
    )
    found = simulate(timed, stalls)
    assert (found.cycles == run.cycles) or list(differences(run, {**found.inputs, **found.outputs}))
    return list(differences(run, {**found.inputs, **found.outputs}))


@pytest.mark.parametrize("name", slow_ones(UNITS, MORE))
def test_every_beat_of_a_unit_passes_in_its_cycle(name: str, placed: dict[str, Placed], bench: Benches) -> None:
    for seed, stall in enumerate(PROBABILITIES * 2):
        assert not unit_differences(name, placed[name], bench, Stalls(stall, seed), memories=seed % 2 == 0)
    assert not unit_differences(name, placed[name], bench, Stalls(seed=3), memories=True)


@pytest.mark.parametrize(
    ("name", "constant"), [("product that its load bounds", "_DECODE"), ("scores", "STAGES"), ("values", "QUEUE")]
)
def test_a_wrong_rule_is_noticed(
    name: str, constant: str, placed: dict[str, Placed], bench: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Constants of the rules that are off by a cycle, some of which a run without stalls forgives."""
    if constant == "QUEUE":
        latency = timing_products.fifo_latency
        monkeypatch.setattr(timing_products, "fifo_latency", lambda depth: latency(depth) + 1)
    else:
        monkeypatch.setattr(timing_products, constant, getattr(timing_products, constant) + 1)
    found = [
        unit_differences(name, placed[name], bench, Stalls(stall, seed), memories=False)
        for seed, stall in enumerate(PROBABILITIES * 2)
    ]
    assert sum(map(bool, found)) > 5


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """An MLP; some of its FIFOs are wires, or too short for its rate."""
    graph, sizes = mlp(), {"mlp.up_proj": {"columns": 4, "lanes": 8}, "mlp.down_proj": {"columns": 2}}
    depths = dict(fifo_depths(graph, place_graph(graph, sizes)))
    depths |= {("norm", "mlp.up_proj.quantize"): 0, ("mlp.act", "mlp.mul"): 1, ("mlp.mul", "mlp.down_proj.quantize"): 3}
    return emitted_pair(graph, tmp_path_factory.mktemp("stalls") / "design", 6, sizes, depths)


def ports(pair: Pair) -> dict[str, int]:
    timed = pair.timed.timed
    return {name: port.width for each in (timed.inputs, timed.outputs) for name, port in each.items()}


def test_every_beat_of_a_design_passes_in_its_cycle(small: Pair) -> None:
    cycles = set()
    for seed, stall in enumerate((0.0, *PROBABILITIES) * 2):
        memories = drawn_memories(ports(small), seed, PACES) if seed % 2 else {}
        run, found, different = small.under(Stalls(stall, seed, memories=memories))
        assert not different
        assert found.cycles == run.cycles
        cycles.add(run.cycles)
    assert len(cycles) > 8


def test_without_stalls_it_is_the_schedule_without_stalls(small: Pair) -> None:
    found = small.timed.under(Stalls())
    assert all(np.array_equal(one, other) for one, other in zip(found.times, small.timed.earliest(), strict=True))
    assert found.cycles == small.timed.cycles


def test_a_wrong_pattern_is_noticed(small: Pair) -> None:
    """Other seeds, another probability, a memory that is a cycle or a bit slower: the RTL's beats come at others."""
    memory = Memory(bits=3.5, latency=20, period=50, pause=4)
    stalls = Stalls(0.3, 1, memories={"x": memory})
    run = small.rtl.run_bulk(stall=0.3, seed=1, memories=stalls.memories, times=True)
    for other in (
        replace(stalls, seed=2),
        replace(stalls, stall=0.31),
        replace(stalls, longest=900),
        *(replace(stalls, memories={"x": replace(memory, **each)}) for each in ({"bits": 3.4}, {"latency": 21})),
        *(replace(stalls, memories={"x": replace(memory, **each)}) for each in ({"period": 51}, {"pause": 5})),
    ):
        found = small.timed.under(other)
        assert list(differences(run, {**found.inputs, **found.outputs}))
    found = small.timed.under(stalls)
    assert not list(differences(run, {**found.inputs, **found.outputs}))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_every_beat_of_a_drawn_block_passes_in_its_cycle(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    shape = BlockShape(
        hidden=int(rng.choice([32, 64])),
        kv_heads=int(rng.choice([1, 2, 4])),
        ffn=int(rng.choice([32, 64, 96])),
        formats=FORMATS[seed % 3],
    )
    graph, sizes = decoder_block(shape), {}
    for name, step in graph.steps.items():
        if isinstance(step.operation, Linear):
            rows, columns = int(rng.choice([1, 1, 2])), int(rng.choice([1, 2, 4, 8]))
            sizes[name] = {"lanes": int(rng.choice([4, 8, 16])), "columns": columns, "rows": rows}
        elif isinstance(step.operation, Quantize) and rng.random() < 0.5:
            sizes[name] = {"lanes": int(rng.choice([1, 2, 4]))}
    depths = dict(fifo_depths(graph, place_graph(graph, sizes)))
    depths |= {edge: int(rng.choice([0, 1, 2, 3])) for edge, depth in depths.items() if depth <= 2}
    pair = emitted_pair(
        graph, tmp_path / "design", int(rng.choice([4, 8])), sizes, depths, batch=int(rng.integers(1, 3))
    )
    for number, stall in enumerate((0.0, *PROBABILITIES)):
        memories = drawn_memories(ports(pair), number, PACES) if number % 2 == 0 else {}
        run, found, different = pair.under(Stalls(stall, number, memories=memories))
        assert not different
        assert found.cycles == run.cycles


def test_a_memory_bounds_the_rate() -> None:
    """A register behind a memory: after its latency, and a pause for each period, its bits; at once those that wait."""
    events = Events()
    moves = events.series("moves", 400)
    timed = Timed(events, {"x": Inlet(moves, (moves,), 64)}, {"y": Outlet(moves, 64)})
    for bits in (64, 16, Fraction(64, 3), 40.5, 0.25):
        memory = Memory(bits, latency=7)
        times = simulate(timed, Stalls(memories={"x": memory})).inputs["x"]
        assert abs(memory.rate - Fraction(bits)) < 1e-6
        assert times.tolist() == [6 - (-64 * k // memory.rate) for k in range(1, 401)]
    slow = simulate(timed, Stalls(memories={"x": Memory(32, period=100, pause=10)})).inputs["x"]
    assert (slow[-1] + 1) / 400 == pytest.approx(64 / Memory(32, period=100, pause=10).average, rel=0.02)
    fast = simulate(timed, Stalls(memories={"x": Memory(640), "y": Memory(16)}))
    assert fast.cycles == 399 * 4 + 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bits": 0}, "more than 0 bits a cycle, not 0"),
        ({"bits": float("inf")}, "more than 0 bits a cycle, not inf"),
        ({"bits": float("nan")}, "more than 0 bits a cycle, not nan"),
        ({"bits": 1e-9}, "a memory that gives 1e-09 bits a cycle stands"),
        ({"bits": 8, "latency": -1}, "latency of a memory is a number of cycles, not -1"),
        ({"bits": 8, "pause": 3}, "pauses 3 of 0 cycles never gives"),
        ({"bits": 8, "period": 5, "pause": 5}, "pauses 5 of 5 cycles never gives"),
    ],
)
def test_what_no_memory_is_is_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Memory(**values)  # type: ignore[arg-type]


def test_bad_stalls_are_refused(small: Pair) -> None:
    for simulated in (small.timed.under, lambda stalls: small.rtl.run_bulk(memories=stalls.memories)):
        with pytest.raises(InputError, match="a buffer of 8 bits is too small for beats of"):
            simulated(Stalls(memories={"x": Memory(4, buffer=8)}))
    with pytest.raises(InputError, match="there is no port 'z'"):
        small.timed.under(Stalls(memories={"z": Memory(4)}))
    with pytest.raises(InputError, match="there is no stream 'z'"):
        small.rtl.run_bulk(memories={"z": Memory(4)})
    with pytest.raises(InputError, match="stall"):
        Stalls(1.5)


def test_a_design_that_stops_is_told(small: Pair) -> None:
    """Stalls add no deadlock and hide none."""
    events = small.timed.events.copy()
    first, last = (next(iter(ports.values())) for ports in (small.timed.inputs, small.timed.outputs))
    events.after(first, last, 1, of=np.full(events.counts[first], events.counts[last] - 1), back=True)
    stopped = replace(small.timed.timed, events=events)
    with pytest.raises(DeadlockError, match="input x after 0 of"):
        simulate(stopped, Stalls(0.3))
