"""A session gives the beats and cycles of a run, in any pieces, keeps what nobody asked for, says where it stopped."""

import signal
from pathlib import Path
from time import perf_counter
from types import FrameType

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.rtl_templates.catalogue import unit_named
from mxhw.rtl_templates.stream.fifo import Fifo
from mxhw.sim import Library, SimulationError, SimulationSession, StreamError, build_library, build_library_from_sources
from mxhw.sim.beats import Array
from tests.rtl_templates.bank import Bank
from tests.sim import faulty
from tests.sim.faulty import Faulty, traffic

SLOW = """
// One beat out, COUNT cycles after the one in; meanwhile a tap moves, if it is to be seen. 255 ends the simulation.
module slow (
  input clk, input rst, input shown,
  input x_valid, output x_ready, input [15:0] x_payload,
  output y_valid, input y_ready, output [15:0] y_payload,
  output tap_count_fire, output [15:0] tap_count_payload
);
  reg busy; reg [15:0] count, held;
  assign x_ready = !busy;
  assign y_valid = busy & count == 0;
  assign y_payload = held;
  assign tap_count_fire = busy & count != 0 & shown;
  assign tap_count_payload = count;
  always @(posedge clk) begin
    if (x_valid & x_ready) begin busy <= 1; count <= x_payload; held <= x_payload; end
    if (busy & count != 0) count <= count - 1;
    if (y_valid & y_ready) busy <= 0;
    if (busy & held == 255) $finish;
    if (rst) busy <= 0;
  end
endmodule
"""


@pytest.fixture(scope="module")
def units(cache: Path) -> Library:
    scores = unit_named("attention_scores").make(lanes=8)
    requantize = unit_named("requantize").make(length=16)
    bank = Bank({"fifo": Fifo(shape=70, depth=5), "requantize": requantize, "scores": scores})
    return build_library(bank, "bank", cache=cache)


@pytest.fixture(scope="module")
def fragile(cache: Path) -> Library:
    return build_library(Faulty(), cache=cache)


@pytest.fixture(scope="module")
def slow(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    path = tmp_path_factory.mktemp("slow") / "slow.v"
    path.write_text(SLOW)
    return build_library_from_sources([path], "slow", cache=cache)


def case(library: Library, name: str) -> tuple[dict[str, Array], str, int]:
    """Return inputs of a unit of the bank, random within their ports, its output, and its number of beats."""
    tokens = 10
    counts = {
        "fifo": ({"x": 300}, "y", 300),
        "requantize": ({"x": 160}, "y", 160),
        "scores": ({"query": 16 * tokens, "key": 8 * tokens}, "y", tokens * (tokens + 1)),
    }
    inputs, output, count = counts[name]
    choose, beats = np.random.default_rng(len(name)), {}
    for stream, number in inputs.items():
        port = library.streams[f"{name}__{stream}"].payload
        bits = choose.integers(0, 2, (number, port.width), dtype=np.uint8)
        values = [int("".join(map(str, row)), 2) for row in bits.tolist()]
        beats[f"{name}__{stream}"] = np.array(
            [value - (value >> port.width - 1 << port.width) if port.signed else value for value in values], object
        )
    if name == "scores":
        beats["scores__position"] = np.arange(tokens)
    return beats, f"{name}__{output}", count


@pytest.mark.parametrize("name", ["fifo", "requantize", "scores"])
def test_the_beats_and_cycles_of_a_run_at_once_and_in_pieces(units: Library, name: str) -> None:
    beats, output, count = case(units, name)
    none = {s.name: [] for s in units.streams.values() if s.is_input}
    wanted = {s.name: 0 for s in units.streams.values() if not s.is_input} | {output: count}
    run = units.run(none | beats, wanted, levels={})
    with units.session() as whole:
        for stream, values in beats.items():
            whole.send(stream, values)
        assert np.array_equal(whole.receive(output, count), run.outputs[output])
        assert whole.cycles == run.cycles
        assert all(whole.pending(stream) == 0 for stream in units.streams)
        assert whole.moved(output) == count
    with units.session() as pieces:
        parts, found = 5, []
        for part in range(parts):
            for stream, values in beats.items():
                pieces.send(stream, np.array_split(values, parts)[part])
            pieces.clock(part)
            if part:  # what a part gives is received while the next one is under way
                found.append(pieces.receive(output, len(np.array_split(range(count), parts)[part - 1]) // 2))
        found.append(pieces.receive(output, count - sum(map(len, found))))
        assert np.array_equal(np.concatenate(found), run.outputs[output])
        assert pieces.cycles >= run.cycles


def test_what_nobody_asked_for_is_kept(fragile: Library) -> None:
    inputs, outputs = traffic(5000, step=3)
    with fragile.session(levels={"step": 3, "fault": 0}) as session:
        for name, beats in inputs.items():
            session.send(name, beats)
        assert (session.pending("a"), session.moved("a"), session.cycles) == (5000, 0, 0)
        assert session.receive("total", 0).shape == (0,)
        assert session.cycles == 0
        assert session.receive("total", 5000).tolist() == outputs["total"]
        words = [session.receive("wide", count) for count in (1, 4000, session.pending("wide") - 4001)]
        joined = np.concatenate(words)
        assert joined.dtype == np.uint32
        got = [int(row[0]) | int(row[1]) << 32 | int(row[2]) << 64 for row in joined]
        assert got == outputs["wide"][: len(got)] and len(got) >= 4999
        assert session.pending("wide") == 0


def test_sessions_of_a_library_do_not_disturb_each_other(fragile: Library) -> None:
    levels = {"step": 1, "fault": 0}
    with fragile.session(levels=levels) as one, fragile.session(levels={"step": 2, "fault": 0}) as other:
        for session in (one, other):
            session.send("a", [5, 6])
            session.send("b", [0, 0])
        assert one.receive("total", 1).tolist() == [6]
        run = fragile.run({"a": [9], "b": [0]}, {"total": 1, "wide": 1}, levels=levels)
        assert run.ints("total") == [10]
        assert other.receive("total", 2).tolist() == [7, 8]
        assert one.receive("total", 1).tolist() == [7]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faulty.LOSES, "waiting for 40 total beats, of which 39 came; .* 40 of 40 a beats accepted.* 39 total beats"),
        (faulty.STOPS, "waiting for 40 total beats, of which 5 came; .* 5 of 40 a beats accepted"),
    ],
)
def test_a_unit_that_gives_too_little_is_a_deadlock_and_what_came_is_not_lost(
    fragile: Library, fault: int, words: str
) -> None:
    inputs, outputs = traffic(40, step=0)
    with fragile.session(levels={"step": 0, "fault": fault}, limit=150) as session:
        for name, beats in inputs.items():
            session.send(name, beats)
        with pytest.raises(StreamError, match=f"no beat moved for 150 cycles: deadlock or a lost beat, while {words}"):
            session.receive("total", 40)
        with pytest.raises(StreamError, match="no beat moved for 20 cycles") as error:
            session.receive("total", 40, limit=20)
        assert error.value.port is None
        assert error.value.moved["b"] == session.moved("b")
        assert error.value.cycle == session.cycles
        came = session.pending("total")
        missing = {faulty.LOSES: outputs["total"][: faulty.PLACE] + outputs["total"][faulty.PLACE + 1 :]}
        assert session.receive("total", came).tolist() == missing.get(fault, outputs["total"])[:came]


def test_a_beat_too_many_and_a_wrong_one_are_seen_by_who_looks(fragile: Library) -> None:
    inputs, outputs = traffic(10, step=0)
    for fault, pending in ((0, 0), (faulty.REPEATS, 1)):
        with fragile.session(levels={"step": 0, "fault": fault}) as session:
            for name, beats in inputs.items():
                session.send(name, beats)
            session.receive("total", 10)
            session.clock(100)
            assert session.pending("total") == pending
    with fragile.session(levels={"step": 0, "fault": faulty.ERRS}) as session:
        for name, beats in inputs.items():
            session.send(name, beats)
        got = session.receive("total", 10).tolist()
        assert [i for i in range(10) if got[i] != outputs["total"][i]] == [faulty.PLACE]


def test_what_moves_at_a_tap_is_no_deadlock(slow: Library) -> None:
    with slow.session(levels={"shown": 1}, limit=50) as session:
        session.send("x", [500, 3])
        assert session.receive("y", 2).tolist() == [500, 3]
        assert session.cycles == 502 + 5
    with slow.session(levels={"shown": 0}, limit=50) as session:
        session.send("x", [500])
        with pytest.raises(StreamError, match="no beat moved for 50 cycles"):
            session.receive("y", 1)


def test_a_simulation_that_ends_by_itself_ends_the_session(slow: Library) -> None:
    with slow.session(levels={"shown": 1}) as session:
        session.send("x", [7, 255])
        assert session.receive("y", 1).tolist() == [7]
        with pytest.raises(SimulationError, match=r"\$finish"):
            session.receive("y", 1)
        with pytest.raises(SimulationError, match="the session is closed"):
            session.send("x", [1])


def test_an_interrupt_is_heard_while_the_unit_is_clocked(slow: Library) -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGALRM, interrupt)
    start = perf_counter()
    try:
        with slow.session(levels={"shown": 0}, limit=1 << 60) as session:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                session.receive("y", 1)
            assert session.cycles > 10_000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, kept)
    assert perf_counter() - start < 5


def test_bad_input_is_refused_by_name(fragile: Library) -> None:
    levels = {"step": 0, "fault": 0}
    with pytest.raises(InputError, match="level fault is missing"):
        fragile.session(levels={"step": 0})
    with pytest.raises(InputError, match="limit must be at least 1 cycle, not 0"):
        fragile.session(levels=levels, limit=0)

    def refused(session: SimulationSession, message: str, call: str, *given: object, **named: object) -> None:
        with pytest.raises(InputError, match=message):
            getattr(session, call)(*given, **named)

    with fragile.session(levels=levels) as session:
        refused(session, "there is no input stream 'total'; .*there is a, b", "send", "total", [1])
        refused(session, "beats of a must be integers from -128 to 127, not 128", "send", "a", [128])
        refused(session, "there is no output stream 'totl'; did you mean 'total'", "receive", "totl", 1)
        refused(session, "beats of total must not be negative, not -1", "receive", "total", -1)
        refused(session, "limit must be at least 1 cycle", "receive", "total", 1, limit=0)
        refused(session, "there is no stream 'y'", "pending", "y")
    with pytest.raises(SimulationError, match="the session is closed"):
        session.receive("total", 1)
