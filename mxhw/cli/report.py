"""`mxhw report`: write the pages of a finished run or search again."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output
from mxhw.errors import InputError

__all__ = ["report"]

PAGE = "report.html"


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that `mxhw codesign`, `mxhw search` or `mxhw emit` made.")
    ],
    json: JsonOption = False,
) -> None:
    """Write pages and pictures from what DIR holds; needs no model.

    `report.html` of a run or of emitted RTL, `search.html` of a search. A `cosim.json` that is newer than the run, from
    `mxhw cosim DIR`, takes the place of the run's own.

    Example: `mxhw report build/demo`
    """
    from mxhw.report.results import RESULTS_FILE
    from mxhw.report.search import SEARCH_FILE

    pages: list[Path] = []
    pictures: list[Path] = []
    searched = (folder / SEARCH_FILE).is_file()
    if (folder / RESULTS_FILE).is_file():
        _run(folder, pages, pictures)
    elif not searched or _has_designs(folder):
        _emitted(folder, pages)
    if searched:
        _search(folder, pages, pictures)
    output = Output(as_json=json)
    if not json:
        for page in pages:
            output.say(f"report: {page}")
    output.result({"report": str(pages[0]), "pages": [*map(str, pages)], "pictures": [*map(str, pictures)]})


def _run(folder: Path, pages: list[Path], pictures: list[Path]) -> None:
    """Write what a co-design run leaves."""
    from mxhw.report import write_front, write_report
    from mxhw.report.results import load_results

    results = load_results(folder)
    results = results.model_copy(update={"cosim": _cosim(folder) or results.cosim})
    write_report(results, folder / PAGE)
    write_front(results, folder / "front.svg")
    pages.append(folder / PAGE)
    pictures.append(folder / "front.svg")


def _emitted(folder: Path, pages: list[Path]) -> None:
    """Write the page of emitted layers and designs."""
    from mxhw.report import write_cosim_page
    from mxhw.sim.cosim import find_designs
    from mxhw.sim.dataflow import DataflowDesign, is_dataflow_design
    from mxhw.sim.design import GemmDesign

    cosim = _cosim(folder)
    found = find_designs(folder)
    designs = [DataflowDesign.load(path) for path in found if is_dataflow_design(path)]
    layers = [GemmDesign.load(path) for path in found if not is_dataflow_design(path)]
    write_cosim_page(folder, cosim, layers, folder / PAGE, designs)
    pages.append(folder / PAGE)


def _search(folder: Path, pages: list[Path], pictures: list[Path]) -> None:
    """Write the page and the pictures of a search."""
    from mxhw.report.search import SEARCH_PAGE, load_search_report, write_search_pictures, write_search_report

    record = load_search_report(folder)
    write_search_report(record, folder / SEARCH_PAGE)
    pages.append(folder / SEARCH_PAGE)
    pictures += write_search_pictures(record, folder)


def _has_designs(folder: Path) -> bool:
    """Return whether there is emitted RTL in the folder."""
    from mxhw.sim.cosim import find_designs

    try:
        return bool(find_designs(folder))
    except InputError:
        return False


def _cosim(folder: Path) -> dict[str, Any] | None:
    """Return what the last co-simulation of the folder wrote, if there was one."""
    from mxhw.sim.cosim import COSIM_FILE

    path = folder / COSIM_FILE
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json_module.loads(path.read_text())
        return found
    except ValueError as error:
        raise InputError(f"{str(path)!r} is not JSON ({error}); run `mxhw cosim {folder}`") from None
