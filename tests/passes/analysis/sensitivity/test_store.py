"""Entries on disk: found again whatever else is asked for, intact after crashes, shared by processes."""

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes.analysis import QualityEvaluator
from mxhw.passes.analysis.sensitivity import METRICS, Unit, measure, measure_sensitivity, units_of
from mxhw.passes.analysis.sensitivity.entry import Entry
from mxhw.passes.analysis.sensitivity.store import EntryStore
from tests.passes.analysis.sensitivity import crash

FORMATS = ("mxfp4", "int4-g32")


@pytest.fixture(scope="module")
def units(tiny: Graph) -> tuple[Unit, ...]:
    return units_of(tiny, FORMATS)[:4]


class Counting:
    """Progress that counts; it may be told to interrupt as a person's Ctrl-C does."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.total, self.steps, self.notes, self.stop_after = 0.0, [], [], stop_after

    @contextmanager
    def task(self, description: str, total: float) -> Iterator["Counting"]:
        self.total = total
        yield self

    def advance(self, steps: float = 1) -> None:
        self.steps.append(steps)
        if self.stop_after is not None and len(self.steps) > self.stop_after:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        self.notes.append(text)


def entries_measured(progress: Counting) -> int:
    return len(progress.notes)


@pytest.mark.parametrize("metric", METRICS)
def test_what_was_measured_is_found_again(
    metric: str, tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    fresh = measure_sensitivity(tiny, evaluator, units, metric)
    first, again, more, other = Counting(), Counting(), Counting(), Counting()
    narrow = [replace(unit, candidates=FORMATS[:1]) for unit in units[:3]]
    measure_sensitivity(tiny, evaluator, narrow, metric, cache=tmp_path, progress=first)
    table = measure_sensitivity(tiny, evaluator, units, metric, cache=tmp_path, progress=more)
    renamed = [replace(unit, name=f"other {unit.name}", candidates=FORMATS[::-1]) for unit in units[::-1]]
    found = measure_sensitivity(tiny, evaluator, renamed, metric, cache=tmp_path, progress=again)
    assert table.losses == fresh.losses  # what is read is what was measured, to the last bit
    for unit in units:
        assert found.losses[f"other {unit.name}"] == fresh.losses[unit.name]
    assert [entries_measured(each) for each in (first, more, again)] == [3, 5, 0]
    assert all(sum(each.steps) == each.total for each in (first, more, again))
    assert more.steps[0] == 3
    rows = [replace(units[0], channels=(0, 5))]
    measure_sensitivity(tiny, evaluator, rows, metric, cache=tmp_path, progress=other)
    assert entries_measured(other) == 2


def test_another_question_is_not_answered_with_it(
    tiny: Graph,
    evaluator: QualityEvaluator,
    windows: Tensor,
    units: tuple[Unit, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = [replace(units[0], candidates=FORMATS[:1])]

    def measured(graph: Graph, text: QualityEvaluator, metric: str = "mse") -> int:
        progress = Counting()
        measure_sensitivity(graph, text, unit, metric, cache=tmp_path, progress=progress)
        return entries_measured(progress)

    assert [measured(tiny, evaluator), measured(tiny, evaluator)] == [1, 0]
    assert measured(tiny, QualityEvaluator(tiny, windows.flip(0))) == 1  # another text
    assert measured(tiny, evaluator, "hessian") == 1  # another metric
    norm = next(value for path, value in tiny.attributes.items() if path == "model.norm.weight")
    before = norm.detach().clone()
    try:
        norm.data[0] += 1e-3  # another model: a weight that no unit is about
        assert measured(tiny, QualityEvaluator(tiny, windows)) == 1
    finally:
        norm.data.copy_(before)
    assert measured(tiny, evaluator) == 0
    with monkeypatch.context() as patch:  # a format whose rule has changed under its name
        patch.setattr("mxhw.passes.analysis.sensitivity.store.fingerprint_of_format", lambda name: f"new {name}")
        assert measured(tiny, evaluator) == 1
    with monkeypatch.context() as patch:  # a metric whose definition has changed
        patch.setitem(measure.EntryStore._describe.__globals__["DEFINITIONS"], "mse", 2)
        assert measured(tiny, evaluator) == 1


def test_an_interrupted_measurement_goes_on(
    tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    expected = measure_sensitivity(tiny, evaluator, units)
    with pytest.raises(KeyboardInterrupt):
        measure_sensitivity(tiny, evaluator, units, cache=tmp_path, progress=Counting(stop_after=3))
    resumed = Counting()
    table = measure_sensitivity(tiny, evaluator, units, cache=tmp_path, progress=resumed)
    assert resumed.steps[0] == 3
    assert entries_measured(resumed) == 5
    assert table == expected


def stored(tiny: Graph, evaluator: QualityEvaluator, folder: Path) -> EntryStore:
    return EntryStore(tiny, evaluator, "kl", folder)


def test_a_torn_line_spoils_no_other(
    tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    """The file is cut at every byte of its last record, and written on."""
    entries = [Entry(unit, fmt) for unit in units for fmt in FORMATS]
    store = stored(tiny, evaluator, tmp_path)
    for number, entry in enumerate(entries[:3]):
        store.add(entry, number + 0.1)
    assert store.path is not None
    whole = store.path.read_bytes()
    start = whole.rstrip(b"\n").rfind(b"\n")
    for end in range(start, len(whole)):
        store.path.write_bytes(whole[:end])
        other = stored(tiny, evaluator, tmp_path)
        complete = end >= len(whole) - 1
        assert [other.get(entry) for entry in entries[:2]] == [0.1, 1.1]
        assert other.get(entries[2]) is None  # even a whole line counts only once it is ended
        other.add(entries[3], 3.1)
        after = stored(tiny, evaluator, tmp_path)
        assert [after.get(entry) for entry in (*entries[:2], entries[3])] == [0.1, 1.1, 3.1]
        assert after.get(entries[2]) == (2.1 if complete else None)


def test_lines_that_are_no_entries_are_skipped(
    tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    store, entry = stored(tiny, evaluator, tmp_path), Entry(units[0], FORMATS[0])
    store.add(entry, 0.5)
    assert store.path is not None
    line = json.loads(store.path.read_text())
    bad = [b"\xff\xfe", b"[1, 2]", b"7", b"{}", b"null"]
    bad += [json.dumps({**line, "loss": loss}).encode() for loss in (None, "0.1", float("nan"), -1.0, float("inf"))]
    store.path.write_bytes(b"\n".join([*bad, json.dumps(line).encode(), *bad, b""]))
    assert stored(tiny, evaluator, tmp_path).get(entry) == 0.5


def test_halves_of_two_writers_spoil_only_each_other(
    tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    """What happens on a file system that does not keep two appending writes apart."""
    entries = [Entry(unit, fmt) for unit in units for fmt in FORMATS]
    store = stored(tiny, evaluator, tmp_path)
    store.add(entries[0], 0.1)
    assert store.path is not None
    record = store.path.read_bytes()
    a, b = record.replace(b"0.1}", b"0.2}"), record.replace(b"0.1}", b"0.3}")
    with store.path.open("ab") as file:
        file.write(a[:50] + b[:70] + a[50:] + b[70:])
    stored(tiny, evaluator, tmp_path).add(entries[1], 0.4)
    after = stored(tiny, evaluator, tmp_path)
    assert [after.get(entry) for entry in entries[:2]] == [0.1, 0.4]


def _append(store: EntryStore, entries: list[Entry], offset: int) -> None:
    for number, entry in enumerate(entries):
        store.add(entry, float(offset + number))


def test_two_processes_append_to_one_file(
    tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    entries = [Entry(replace(units[0], channels=(i, i + 1 + j)), FORMATS[0]) for i in range(20) for j in range(20)]
    store = stored(tiny, evaluator, tmp_path)
    assert store.get(entries[0]) is None
    processes = [
        multiprocessing.get_context("fork").Process(target=_append, args=(store, entries[part::3], 1000 * part))
        for part in range(2)
    ]
    for process in processes:
        process.start()
    _append(store, entries[2::3], 2000)
    for process in processes:
        process.join(60)
    store.refresh()
    for part in range(3):
        assert [store.get(entry) for entry in entries[part::3]] == [
            1000.0 * part + number for number in range(len(entries[part::3]))
        ]


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_is_named_and_loses_nothing(
    short: bool,
    tiny: Graph,
    evaluator: QualityEvaluator,
    units: tuple[Unit, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, lines = os.write, []

    def full(descriptor: int, data: bytes) -> int:
        if len(lines) == 3:
            if short:
                return write(descriptor, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        lines.append(data)
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match="cannot be written: No space left on device"):
            measure_sensitivity(tiny, evaluator, units, "mse", cache=tmp_path)
    resumed = Counting()
    table = measure_sensitivity(tiny, evaluator, units, "mse", cache=tmp_path, progress=resumed)
    assert resumed.steps[0] == 3
    assert table == measure_sensitivity(tiny, evaluator, units, "mse")


def test_a_folder_that_is_a_file_is_refused(
    tiny: Graph, evaluator: QualityEvaluator, units: tuple[Unit, ...], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache of sensitivities .*file.*give another folder"):
        measure_sensitivity(tiny, evaluator, units, cache=tmp_path / "file")


def started(folder: Path, result: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", crash.__name__, str(folder), str(result)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def entries_in(folder: Path) -> int:
    return sum(path.read_bytes().count(b'"loss"') for path in folder.glob("*.jsonl"))


@pytest.mark.slow
def test_a_killed_process_loses_one_entry_at_most_and_two_finish_together(tmp_path: Path) -> None:
    folder, results = tmp_path / "cache", [tmp_path / "a.json", tmp_path / "b.json"]
    process = started(folder, results[0])
    deadline = time.monotonic() + 120
    while entries_in(folder) < 5 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = entries_in(folder)
    assert kept >= 5
    assert not results[0].exists()
    both = [started(folder, result) for result in results]
    assert [process.wait(timeout=180) for process in both] == [0, 0]
    first, second = (json.loads(result.read_text()) for result in results)
    assert first == second
    graph, evaluator, units = crash.problem()
    assert first == measure_sensitivity(graph, evaluator, units).to_json()
    total = sum(len(unit.candidates) for unit in units)
    assert total <= entries_in(folder) < kept + 2 * (total - kept)  # they shared the work


def test_tensors_on_disk_are_not_needed_to_read_entries(
    tiny: Graph,
    evaluator: QualityEvaluator,
    units: tuple[Unit, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A whole table that is on disk takes no run of the model."""
    table = measure_sensitivity(tiny, evaluator, units, cache=tmp_path)
    monkeypatch.setattr(torch.fx.Interpreter, "run_node", lambda *_: pytest.fail("the model ran"))
    assert measure_sensitivity(tiny, evaluator, units, cache=tmp_path) == table
