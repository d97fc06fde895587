"""Still pictures: of what the record has, with every name and direction, and equal for equal records."""

from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.report.search import (
    search_report,
    write_comparison,
    write_hypervolume,
    write_search_front,
    write_search_pictures,
)
from tests.report.search.records import drawn_record, drawn_values


def words_of(path: Path) -> set[str]:
    """Return the texts of an SVG, which matplotlib leaves as comments before their outlines."""
    return {text.split("-->")[0].strip() for text in path.read_text().split("<!--")[1:]}


def test_pictures_name_what_they_show_and_are_the_same_again(tmp_path: Path) -> None:
    record = drawn_record(0, objectives=3)
    paths = write_search_pictures(record, tmp_path)
    assert [path.name for path in paths] == ["search-front.svg", "hypervolume.svg", "comparison.svg"]
    front, volume, comparison = map(words_of, paths)
    sources = {trial.source for trial in record.complete}
    assert {"kl, nats/token", "edp, pJ s", "throughput, tokens/s", "front", "chosen"} | sources <= front
    assert {"trials", "hypervolume"} | sources <= volume
    assert {"trials", "seconds", "hypervolume", "random", "tpe", "hybrid"} <= comparison
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_search_pictures(record, tmp_path)] == before
    write_search_front(drawn_record(1, objectives=3), paths[0])
    assert paths[0].read_bytes() != before[0]


def test_a_design_that_is_not_chosen_has_no_star(tmp_path: Path) -> None:
    write_search_front(drawn_record(0, chosen=False), tmp_path / "front.svg")
    assert "chosen" not in words_of(tmp_path / "front.svg")


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    bare = {**drawn_values(0, objectives=1, chosen=False), "hypervolume": (), "comparison": None}
    record = search_report(**bare)
    assert write_search_pictures(record, tmp_path) == []
    for write, words in (
        (write_search_front, "two objectives"),
        (write_hypervolume, "no hypervolume"),
        (write_comparison, "no comparison"),
    ):
        with pytest.raises(InputError, match=words):
            write(record, tmp_path / "none.svg")
    assert list(tmp_path.iterdir()) == []
