"""The record: what is written is what is read, and a record that contradicts itself cannot be made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mxhw.errors import InputError
from mxhw.report.search import SEARCH_FILE, load_search_report, save_search_report, search_report
from tests.report.search.records import SITES, drawn_record, drawn_values


@pytest.mark.parametrize("seed", range(6))
def test_what_is_saved_is_what_is_loaded(seed: int, tmp_path: Path) -> None:
    record = drawn_record(seed, objectives=1 + seed % 3, chosen=seed != 5)
    assert save_search_report(record, tmp_path) == tmp_path / SEARCH_FILE
    assert load_search_report(tmp_path) == record


def test_assignments_are_kept_for_the_front_and_the_choice_and_formats_for_all() -> None:
    values = drawn_values(1)
    record = search_report(**values)
    kept = {*values["front"], values["chosen"][0]}
    for given, trial in zip(values["trials"], record.trials, strict=True):
        assert trial.formats == given["assignment"]["formats"]
        assert trial.assignment == (given["assignment"] if trial.number in kept else None)
    assert record.format_bits["mxfp4"] == 4.25
    assert set(record.format_bits) == {name for trial in record.trials for name in trial.formats.values()}


def test_a_format_that_is_not_known_has_no_bits() -> None:
    values = drawn_values(1)
    values["trials"][0]["assignment"]["formats"][SITES[0]] = "of-an-extension"
    record = search_report(**values)
    assert record.trials[0].formats[SITES[0]] == "of-an-extension"
    assert "of-an-extension" not in record.format_bits and "mxfp4" in record.format_bits


def _infeasible(values: dict[str, Any]) -> int:
    return next(trial["number"] for trial in values["trials"] if trial["state"] == "infeasible")


def _dominated(values: dict[str, Any]) -> int:
    return next(
        t["number"] for t in values["trials"] if t["state"] == "complete" and t["number"] not in values["front"]
    )


def _choose_infeasible(values: dict[str, Any]) -> None:
    values["chosen"] = (_infeasible(values), "wrong")


def _front_infeasible(values: dict[str, Any]) -> None:
    values["front"].append(_infeasible(values))


def _front_dominated(values: dict[str, Any]) -> None:
    values["front"].append(_dominated(values))


def _choose_too_large(values: dict[str, Any]) -> None:
    values["trials"][values["chosen"][0]]["figures"]["area"] = 1.0e6 + 1


def _choose_too_bad(values: dict[str, Any]) -> None:
    values["trials"][values["chosen"][0]]["figures"]["agreement"] = 0.499


def _twice(values: dict[str, Any]) -> None:
    values["trials"][1]["number"] = 0


def _nothing_known(values: dict[str, Any]) -> None:
    values["trials"][0]["values"] = [None, 1.0]


def _few_values(values: dict[str, Any]) -> None:
    values["trials"][0]["values"] = [1.0]


def _no_number(values: dict[str, Any]) -> None:
    values["trials"][0]["figures"]["area"] = float("nan")


def _short_curve(values: dict[str, Any]) -> None:
    values["hypervolume"].pop()


def _short_reference(values: dict[str, Any]) -> None:
    values["reference"].pop()


def _falling_curve(values: dict[str, Any]) -> None:
    values["comparison"]["strategies"][0]["curves"][0].update(trials=[2, 1], seconds=[1, 2], hypervolume=[0, 1])


def _uneven_curve(values: dict[str, Any]) -> None:
    values["comparison"]["strategies"][0]["curves"][0].update(trials=[1], seconds=[1, 2], hypervolume=[0, 1])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (_choose_infeasible, "is no complete trial"),
        (_front_infeasible, "is no complete trial"),
        (_front_dominated, "dominates trial"),
        (_choose_too_large, "area 1e[+]06, which must be <= 1e[+]06"),
        (_choose_too_bad, "agreement 0.499, which must be >= 0.5"),
        (_twice, "two trials have the same number"),
        (_nothing_known, "trial 0 is complete and lacks a value"),
        (_few_values, "trial 0 has 1 values of 2 objectives"),
        (_no_number, "finite"),
        (_short_curve, "39 hypervolumes of 40 trials"),
        (_short_reference, "the reference point has 1 values"),
        (_falling_curve, "must rise"),
        (_uneven_curve, "differ in length"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(fault: Callable[[dict[str, Any]], None], words: str) -> None:
    values = drawn_values(2)
    search_report(**values)
    fault(values)
    with pytest.raises(ValidationError, match=words):
        search_report(**values)


def test_a_file_that_is_no_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no search\.json; make it with `mxhw search"):
        load_search_report(tmp_path)
    path = save_search_report(drawn_record(0), tmp_path)
    whole = path.read_text()
    data = json.loads(whole)
    data["trials"][3]["state"] = "finished"
    faults = {
        whole[: len(whole) // 2]: "the record: Invalid JSON",
        json.dumps(data): "trials.3.state: Input should be 'complete', 'infeasible' or 'stopped'",
        json.dumps({**json.loads(whole), "surprise": 1}): "surprise: Extra inputs",
        "[]": "the record: Input should be an object",
    }
    for text, words in faults.items():
        path.write_text(text)
        with pytest.raises(InputError, match="is not a record of `mxhw search`") as refused:
            load_search_report(tmp_path)
        assert words in str(refused.value) and "\n" not in str(refused.value)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        load_search_report(tmp_path)
