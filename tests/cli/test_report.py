"""`mxhw report` on the folder of a search."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mxhw.report.search import SEARCH_FILE, save_search_report
from tests.report.search.records import drawn_record


def test_the_page_and_the_pictures_of_a_search_are_written_again(
    mxhw_command: Callable[..., Any], tmp_path: Path
) -> None:
    save_search_report(drawn_record(0), tmp_path)
    ran = mxhw_command("report", tmp_path, "--json")
    assert ran.code == 0
    names = {"search.html", "search-front.svg", "hypervolume.svg", "comparison.svg"}
    assert {path.name for path in tmp_path.iterdir()} == {SEARCH_FILE, *names}
    assert ran.json["report"] == str(tmp_path / "search.html") and ran.json["pages"] == [ran.json["report"]]
    assert {Path(path).name for path in ran.json["pictures"]} == names - {"search.html"}
    (tmp_path / "search.html").unlink()
    assert f"report: {tmp_path / 'search.html'}" in mxhw_command("report", tmp_path).out
    assert (tmp_path / "search.html").is_file()


def test_a_damaged_record_is_one_line_and_leaves_the_page(mxhw_command: Callable[..., Any], tmp_path: Path) -> None:
    path = save_search_report(drawn_record(0), tmp_path)
    (tmp_path / "search.html").write_text("earlier")
    path.write_text(path.read_text().replace('"state"', '"stat"', 1))
    ran = mxhw_command("report", tmp_path)
    assert ran.code == 2
    (line,) = ran.err.strip().splitlines()
    assert "is not a record of `mxhw search`" in line and "state" in line
    assert (tmp_path / "search.html").read_text() == "earlier"
