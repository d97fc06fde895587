"""The page in headless Chromium: front and chosen design are drawn where their values say, and controls work."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mxhw.report.search import Objective, SearchReport, load_search_report, save_search_report, write_search_report
from tests.report.search.browser import Browser, BrowserError, needs_chromium
from tests.report.search.records import drawn_record, drawn_values

pytestmark = needs_chromium
DRAWN = "document.documentElement.dataset.drawn === 'yes'"
# The marks of a trace, in the order of the drawing: [number of the trial, x, y] with the place of each on the screen.
MARKS = """[...document.querySelectorAll('#front .trace%s path.point')].map(path => {
  const box = path.getBoundingClientRect(), point = path.__data__;
  return [point.data, point.x, point.y, box.x + box.width / 2, box.y + box.height / 2];
})"""
FRAME = """(() => { const box = document.querySelector('#front .nsewdrag').getBoundingClientRect();
  return [box.left, box.right, box.top, box.bottom]; })()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def shown(browser: Browser, record: SearchReport, folder: Path) -> Path:
    """Write a page, open it, and wait until everything is drawn."""
    page = folder / "search.html"
    write_search_report(record, page)
    opened(browser, page)
    return page


def opened(browser: Browser, page: Path) -> None:
    browser.open(page.as_uri())
    browser.wait(DRAWN)
    assert browser.errors == []


def check_front_and_choice(browser: Browser, record: SearchReport, x: int = 1, y: int = 0) -> None:
    """Find the designs of the front and the chosen one in the drawing; AssertionError if one is absent or displaced."""
    rings, star = browser.value(MARKS % "front"), browser.value(MARKS % "chosen")
    assert len(rings) == len(record.front), "designs of the front are not drawn"
    assert len(star) == 1, "the chosen design is not drawn"
    assert record.chosen is not None
    chosen = record.trial(record.chosen.number)
    assert star[0][1:3] == [chosen.values[x], chosen.values[y]], "the chosen design stands elsewhere"
    values = {(record.trial(n).values[x], record.trial(n).values[y]) for n in record.front}
    assert {(ring[1], ring[2]) for ring in rings} == values, "the front stands elsewhere"
    left, right, top, bottom = browser.value(FRAME)
    for mark in [*rings, *star]:
        assert left <= mark[3] <= right and top <= mark[4] <= bottom, "a design is outside of the picture"
    assert sorted(rings, key=lambda mark: mark[1]) == sorted(rings, key=lambda mark: mark[3]), "x does not rise"
    assert sorted(rings, key=lambda mark: mark[2]) == sorted(rings, key=lambda mark: -mark[4]), "y does not rise"


@pytest.mark.parametrize(("seed", "objectives"), [(0, 2), (1, 3)])
def test_the_front_and_the_chosen_design_are_drawn(
    browser: Browser, seed: int, objectives: int, tmp_path: Path
) -> None:
    record = drawn_record(seed, objectives=objectives)
    shown(browser, record, tmp_path)
    check_front_and_choice(browser, record)
    for state in ("stopped", "infeasible"):
        drawn = browser.value(MARKS % state)
        known = [t for t in record.trials if t.state == state and t.values[:1] not in ((), (None,))]
        assert len(drawn) == len(known) == (0 if state == "infeasible" else record.count("stopped"))
    for x, y in [(0, 1), (1, 0), (2, 0), (1, 2)][: 2 * objectives - 2]:
        browser.run(f"($('front-x').value = {x}, $('front-y').value = {y}, drawFront())")
        check_front_and_choice(browser, record, x, y)
    assert browser.errors == []


def test_a_page_without_the_chosen_design_fails_the_check(browser: Browser, tmp_path: Path) -> None:
    record = drawn_record(0)
    page = shown(browser, record, tmp_path)
    number = record.chosen.number if record.chosen else -1
    whole = page.read_text()
    assert whole.count(f'"chosen":{number},') == 1
    page.write_text(whole.replace(f'"chosen":{number},', '"chosen":null,'))
    opened(browser, page)
    with pytest.raises(AssertionError, match="the chosen design is not drawn"):
        check_front_and_choice(browser, record)
    browser.run(f"(record.chosen = {number}, drawFront())")
    check_front_and_choice(browser, record)
    first = record.front[0]
    faults = {  # each with what mends it
        f"record.chosen = {record.complete[0].number}": (f"record.chosen = {number}", "chosen design stands elsewhere"),
        f"record.front = [{first}]": (f"record.front = {list(record.front)}", "of the front are not drawn"),
        f"byNumber.get({first}).values[0] *= 2": (f"byNumber.get({first}).values[0] /= 2", "elsewhere"),
    }
    for fault, (mend, words) in faults.items():
        browser.run(f"({fault}, drawFront())")
        with pytest.raises(AssertionError, match=words):
            check_front_and_choice(browser, record)
        browser.run(f"({mend}, drawFront())")
        check_front_and_choice(browser, record)


@pytest.mark.slow
def test_infeasible_designs_stand_on_the_edge_of_what_they_have_no_value_in(browser: Browser, tmp_path: Path) -> None:
    record = drawn_record(1)
    objectives = [record.objectives[0], Objective(name="area")]
    record = SearchReport.model_validate({**record.model_dump(), "objectives": objectives, "constraints": {}})
    shown(browser, record, tmp_path)
    check_front_and_choice(browser, record)
    drawn = browser.value(MARKS % "infeasible")
    assert sorted(mark[1] for mark in drawn) == sorted(
        trial.figures["area"] for trial in record.trials if trial.state == "infeasible"
    )
    worst = max(float(trial.values[0] or 0) for trial in record.complete)
    top = browser.value(FRAME)[2]
    assert all(mark[2] > worst and mark[4] >= top for mark in drawn)


@pytest.mark.slow
def test_an_error_in_the_page_and_a_missing_page_are_seen(browser: Browser, tmp_path: Path) -> None:
    page = shown(browser, drawn_record(0), tmp_path)
    page.write_text(page.read_text().replace("function drawFront() {", "function drawFront() { absent.value();"))
    browser.open(page.as_uri())
    with pytest.raises(BrowserError, match=r"was not true within 2 s.*absent is not defined"):
        browser.wait(DRAWN, seconds=2)
    with pytest.raises(BrowserError, match="ERR_FILE_NOT_FOUND"):
        browser.open((tmp_path / "none.html").as_uri())


@pytest.mark.slow
def test_every_picture_is_drawn_and_every_control_draws_again(browser: Browser, tmp_path: Path) -> None:
    record = drawn_record(2, objectives=3)
    shown(browser, record, tmp_path)
    for picture in ("front", "hypervolume", "formats", "sensitivity", "importance", "comparison"):
        assert browser.value(f"document.querySelector('#{picture} svg.main-svg').getBoundingClientRect().height") > 100
    texts = "[...document.querySelectorAll('#%s text')].map(text => text.textContent).join(' ')"
    controls = {
        "front-x": ("front", "2", "throughput, tokens/s"),
        "sensitivity-metric": ("sensitivity", "1", None),
        "importance-objective": ("importance", "edp", None),
        "comparison-axis": ("comparison", "seconds", "seconds"),
        "formats-design": ("formats", str(next(n for n in record.front if n != record.chosen.number)), None),  # type: ignore[union-attr]
    }
    for control, (picture, value, words) in controls.items():
        before = browser.value(texts % picture)
        browser.value(f"$('{control}').value = '{value}', $('{control}').dispatchEvent(new Event('change'))")
        after = browser.wait(
            f"(() => {{ const now = {texts % picture}; return now !== {json.dumps(before)} && now; }})()"
        )
        assert words is None or words in after
    assert browser.errors == []


@pytest.mark.slow
def test_the_map_shows_the_formats_of_the_design_that_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    record = drawn_record(3)
    shown(browser, record, tmp_path)
    cells = "$('formats').data[0].customdata.flat().filter(Boolean)"

    def expected(number: int) -> set[str]:
        trial = record.trial(number)
        bits = record.format_bits
        return {f"{site}<br><b>{name}</b>, {bits[name]:.5g} bits an element" for site, name in trial.formats.items()}

    assert record.chosen is not None
    assert set(browser.value(cells)) == expected(record.chosen.number)
    for number in record.front:
        browser.value(f"document.querySelector('#front-table tr[data-trial=\"{number}\"] td:nth-child(2)').click()")
        assert browser.value("$('formats-design').value") == str(number)
        assert set(browser.value(cells)) == expected(number)


@pytest.mark.slow
def test_a_download_holds_the_assignment(browser: Browser, tmp_path: Path) -> None:
    record = drawn_record(4)
    shown(browser, record, tmp_path)
    for number in record.front:
        name, text = browser.value(
            """new Promise(done => {
              let blob;
              URL.createObjectURL = given => { blob = given; return 'blob:here'; };
              HTMLAnchorElement.prototype.click = function () {
                blob.text().then(text => done([this.download, text]));
              };
              document.querySelector(`button.download[data-trial="${NUMBER}"]`).click();
            })""".replace("NUMBER", str(number))
        )
        assert name == f"assignment-{number}.json"
        assert json.loads(text) == record.trial(number).assignment


@pytest.mark.slow
@pytest.mark.parametrize("width", [500, 1400])
def test_nothing_is_wider_than_the_window(width: int, tmp_path: Path) -> None:
    with Browser(tmp_path / "profile", width=width) as narrow:
        shown(narrow, drawn_record(5, objectives=3), tmp_path)
        assert narrow.value("window.innerWidth") == width
        assert narrow.value("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_what_a_record_says_is_drawn_as_text(browser: Browser, tmp_path: Path) -> None:
    evil = "<b onmouseover=alert(1)>bold</b><a href='javascript:alert(2)'>link</a>"
    values = drawn_values(6)
    record = drawn_record(6)
    trials = [{**trial.model_dump(), "source": evil, "reason": evil} for trial in record.trials]
    tables = [{**values["sensitivity"][0], "units": [evil], "losses": {evil: {"mxfp4": 1.0}}}]
    changed = {**record.model_dump(), "trials": trials, "sensitivity": tables, "importance": {evil: {evil: 1.0}}}
    shown(browser, SearchReport.model_validate(changed), tmp_path)
    assert evil in browser.value("[...document.querySelectorAll('#front text')].map(t => t.textContent).join(' ')")
    assert evil in browser.value("[...document.querySelectorAll('#importance text')].map(t => t.textContent).join(' ')")
    assert browser.value("document.querySelectorAll('svg a, svg [onmouseover], main b[onmouseover]').length") == 0


@pytest.mark.slow
def test_the_written_record_gives_the_same_page(browser: Browser, tmp_path: Path) -> None:
    record = drawn_record(7)
    save_search_report(record, tmp_path)
    shown(browser, load_search_report(tmp_path), tmp_path)
    check_front_and_choice(browser, record)
