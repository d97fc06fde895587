"""Entries of tables of sensitivities on disk: found again for other candidates, budgets and after an interruption.

A folder has one file of JSON lines for each model and text, named by their digests. A line is one entry, and stands for
itself: metric, sites, channels, the format by its name and by what it rounds to, and the loss. Lines are appended whole
as entries are found, each behind a line break of its own, so that

- several processes may append at once (a line is one write to a file that is open for appending; on a file system that
  does not keep such writes apart a line may be lost, which costs its measurement again);
- what an interrupted process or a full disk left of a line spoils no other one: it is skipped.

Nothing is ever changed or deleted; to measure again, remove the file.
"""

import json
import os
from math import isfinite
from pathlib import Path
from typing import Any

from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.ir import Graph
from mxhw.passes.analysis.fingerprints import fingerprint_of_format, fingerprint_of_model, fingerprint_of_tensor
from mxhw.passes.analysis.quality import QualityEvaluator
from mxhw.passes.analysis.sensitivity.entry import Entry

__all__ = ["DEFINITIONS", "EntryStore"]

# Counts up when the definition of a metric changes, so that older entries are not found any more.
DEFINITIONS = {"mse": 1, "kl": 1, "taylor": 1, "fisher": 1, "hessian": 1}


class EntryStore:
    """The entries of one model, text and metric; without a folder they are in memory only.

    Parameters
    ----------
    graph, evaluator
        Of the model and the text.
    metric : str
    folder : Path, optional
        Made if it is absent.

    Raises
    ------
    InputError
        If the folder cannot be made or its file not be read.
    """

    def __init__(self, graph: Graph, evaluator: QualityEvaluator, metric: str, folder: Path | None) -> None:
        self._sites, self._metric = graph.sites, metric
        self._known: dict[str, float] = {}
        self._rules: dict[str, str] = {}
        self._offset = 0
        self.path: Path | None = None
        if folder is not None:
            text = fingerprint_of_tensor(evaluator.windows)
            self.path = folder / f"sensitivity-{fingerprint_of_model(graph)}-{text}.jsonl"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self.refresh()
            except OSError as error:
                raise InputError(f"cache of sensitivities {folder}: {error.strerror}; give another folder") from None

    def refresh(self) -> None:
        """Read what was appended since the last time, by this process or another one."""
        if self.path is None or not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        whole = new.rfind(b"\n") + 1  # the rest may be a line that is being written
        self._offset += whole
        for line in new[:whole].splitlines():
            record = _record(line)
            if record is not None:
                loss = record.pop("loss")
                self._known[_key(record)] = loss

    def get(self, entry: Entry) -> float | None:
        """Return the loss of an entry, None if it is not known."""
        return self._known.get(_key(self._describe(entry)))

    def add(self, entry: Entry, loss: float) -> None:
        """Keep an entry, on disk before this returns.

        Raises
        ------
        InputError
            If the disk is full or the file cannot be written; what is there stays.
        """
        record = self._describe(entry)
        self._known[_key(record)] = loss
        if self.path is None:
            return
        data = f"\n{json.dumps({**record, 'loss': loss})}\n".encode()
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                written = os.write(descriptor, data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _unwritable(self.path, error.strerror) from None
        if written < len(data):
            raise _unwritable(self.path, "No space left on device")

    def _describe(self, entry: Entry) -> dict[str, Any]:
        unit, candidate = entry
        if candidate not in self._rules:
            self._rules[candidate] = fingerprint_of_format(candidate) if self.path is not None else ""
        return {
            "metric": self._metric,
            "definition": DEFINITIONS[self._metric],
            "sites": sorted([key, self._sites[key].axis] for key in unit.sites),
            "channels": None if unit.channels is None else list(unit.channels),
            "format": parse_format(candidate).name,
            "rule": self._rules[candidate],
        }


def _key(record: dict[str, Any]) -> str:
    return json.dumps(record, sort_keys=True)


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the entry of a line, None of a line that is none, or not a whole one."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    loss = record.get("loss") if isinstance(record, dict) else None
    return record if isinstance(loss, float) and isfinite(loss) and loss >= 0 else None


def _unwritable(path: Path, reason: str | None) -> InputError:
    return InputError(
        f"cache of sensitivities {path} cannot be written: {reason}; what it holds stays, so free some space or give "
        "another folder and run the same again"
    )
