"""The page of a search: every number of the record is in it, it loads nothing, and what a record says is only text."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mxhw.ir import Assignment
from mxhw.report.search import SearchReport, search_report, write_search_report
from mxhw.report.search.page import figure_text
from mxhw.report.search.payload import format_summary
from tests.report.search.records import SITES, drawn_record, drawn_values

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&'\""


class Page(HTMLParser):
    """The elements of a page, its text, and the texts of its scripts by id."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._script: str | None = None
        self._cell = False
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag == "script":
            self._script = values.get("id") or str(len(self.scripts))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
            return
        self.words.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    @property
    def ids(self) -> set[str]:
        return {str(values["id"]) for _, values in self.elements if "id" in values}

    @property
    def record(self) -> Any:
        return json.loads(self.scripts["record"])


def page_of(record: SearchReport, tmp_path: Path) -> Page:
    write_search_report(record, tmp_path / "search.html")
    return Page(tmp_path / "search.html")


@pytest.mark.parametrize(("seed", "objectives"), [(0, 2), (1, 3), (2, 2), (3, 1)])
def test_every_number_of_the_record_is_in_the_page(seed: int, objectives: int, tmp_path: Path) -> None:
    record = drawn_record(seed, objectives=objectives)
    page = page_of(record, tmp_path)
    data = page.record
    whole = record.model_dump(mode="json")
    same = {"objectives", "constraints", "units", "front", "reference", "hypervolume", "sensitivity", "importance"}
    assert {name: data[name] for name in same} == {name: whole[name] for name in same}
    for trial, shown in zip(record.trials, data["trials"], strict=True):
        for name in ("number", "state", "source", "figures", "violations", "reason", "seconds", "worker"):
            assert shown[name] == getattr(trial, name)
        assert shown["values"] == list(trial.values)
        assert shown["summary"] == format_summary(trial.formats)
    assert data["chosen"] == record.chosen.number  # type: ignore[union-attr]
    text = " ".join(page.words)
    for strategy in whole["comparison"]["strategies"]:
        ends = [curve["hypervolume"][-1] for curve in strategy["curves"]]
        assert f"{figure_text(min(ends))} … {figure_text(max(ends))}" in text
        assert "1 of 5 seeds found none" in text
    for seconds in record.seconds.values():
        assert f"{seconds:.0f} s" in text


def test_the_page_says_what_was_found_without_scripts(tmp_path: Path) -> None:
    record = drawn_record(4)
    page = page_of(record, tmp_path)
    text = " ".join(page.words)
    counts = [record.count(state) for state in ("complete", "stopped", "infeasible")]  # type: ignore[arg-type]
    assert f"({counts[0]} evaluated, {counts[1]} stopped early, {counts[2]} infeasible)" in text
    assert f"{100 * (counts[0] + counts[1]) / 40:.0f} % feasible" in text
    assert record.chosen is not None and record.chosen.reason in text
    assert ("div", {"id": "chosen", "data-trial": str(record.chosen.number)}) in page.elements
    front = [row for row in page.rows if row and row[0].strip("★ ").split(" ")[0].isdigit() and len(row) > 5]
    assert [int(row[0].strip("★ ").split(" ")[0]) for row in front] == sorted(
        record.front, key=lambda number: record.trial(number).values[0] or 0.0
    )
    for row in front:
        trial = record.trial(int(row[0].strip("★ ").split(" ")[0]))
        assert row[0].startswith("★") == (trial.number == record.chosen.number)
        assert row[2:6] == [figure_text(v) for v in (*trial.values, trial.figures["area"], trial.figures["agreement"])]
    broken = sum(trial.state == "infeasible" for trial in record.trials)
    (area,) = [row for row in page.rows if row and row[0] == "area"]
    assert area[1] == "at most 1,000,000 um2" and area[3].startswith(f"{broken} (median ")


def test_a_download_is_the_file_that_an_assignment_saves(tmp_path: Path) -> None:
    record = drawn_record(5)
    page = page_of(record, tmp_path)
    offered = {values["data-trial"] for _, values in page.elements if values.get("class") == "download"}
    assert offered == {str(number) for number in record.front}
    for number in record.front:
        Assignment.from_json(record.trial(number).assignment).save(tmp_path / "saved.json")
        assert page.record["designs"][str(number)]["file"] == (tmp_path / "saved.json").read_text()


def test_the_map_has_a_cell_for_every_site_and_true_bits_come_before_nominal_ones(tmp_path: Path) -> None:
    values = drawn_values(6)
    chosen = values["chosen"][0]
    values["trials"][chosen]["bits"] = {SITES[0]: 4.625}
    record = search_report(**values)
    data = page_of(record, tmp_path).record
    shown = data["map"]
    assert shown["columns"] == ["model.layers.0", "model.layers.1", "model.layers.2", "outside"]
    assert shown["titles"] == ["0", "1", "2", "outside"]
    assert set(shown["cells"]) == set(SITES) and len({tuple(place) for place in shown["cells"].values()}) == len(SITES)
    row, column = shown["cells"]["model.layers.2.self_attn.pv:cache"]
    assert (shown["rows"][row], shown["columns"][column]) == ("self_attn.pv KV cache", "model.layers.2")
    assert shown["rows"][-1] == "lm_head weight"
    formats, bits = data["designs"][str(chosen)]["formats"], data["designs"][str(chosen)]["bits"]
    assert bits[SITES[0]] == 4.625
    assert all(bits[site] == record.format_bits[formats[site]] for site in SITES[1:])


def test_sections_without_numbers_are_left_out(tmp_path: Path) -> None:
    values = drawn_values(7, chosen=False)
    whole = page_of(search_report(**drawn_values(7)), tmp_path).ids
    pictures = {"front", "hypervolume", "formats", "sensitivity", "importance", "comparison"}
    assert pictures | {"chosen", "front-table", "feasible", "record"} <= whole
    for name in ("hypervolume", "sensitivity", "importance", "comparison"):
        values.pop(name)
    infeasible = [trial for trial in values["trials"] if trial["state"] == "infeasible"]
    page = page_of(search_report(**{**values, "trials": infeasible, "front": []}), tmp_path)
    assert page.ids & (pictures | {"chosen", "front-table"}) == {"front"}
    text = " ".join(page.words)
    assert "No design was chosen" in text and "0 % feasible" in text and "at most 1,000,000 um2" in text
    one = page_of(drawn_record(8, objectives=1), tmp_path)
    assert "front" not in one.ids and "front-table" in one.ids


def test_it_loads_nothing_and_what_a_record_says_is_only_text(tmp_path: Path) -> None:
    values = drawn_values(9)
    values |= {"model": EVIL, "command": EVIL, "fingerprint": {EVIL: EVIL}, "units": {"area": EVIL}}
    values["chosen"] = (values["chosen"][0], EVIL)
    values["objectives"] = [{"name": "kl", "unit": EVIL}, {"name": EVIL}]
    values["constraints"][EVIL] = (1.0e9, "<=")
    values["importance"] = {EVIL: {EVIL: 1.0}}
    values["sensitivity"][0] |= {"metric": EVIL, "units": [EVIL], "losses": {EVIL: {"mxfp4": 1.0}}}
    values["comparison"]["strategies"][0]["name"] = EVIL
    for trial in values["trials"]:
        trial |= {"source": EVIL, "reason": EVIL, "worker": EVIL}
        trial["assignment"]["formats"] = {f"{EVIL}:{EVIL}": EVIL}
        trial["figures"][EVIL] = 1.0
    page = page_of(search_report(**values), tmp_path)
    assert len([tag for tag, _ in page.elements if tag == "script"]) == len(page.scripts) == 3
    assert page.record["trials"][0]["source"] == EVIL
    own = {name: text for name, text in page.scripts.items() if not text.lstrip().startswith("/**\n* plotly.js")}
    assert len(own) == 2 and not any("<script" in text or "http" in text for text in own.values())
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "base", "a")
        assert not attributes.keys() & {"src", "srcset", "action", "href"}
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in "".join(own.values()) and "@import" not in (tmp_path / "search.html").read_text()[:20000]
