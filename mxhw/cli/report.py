"""`mxhw report`: write the page of a finished run again."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output
from mxhw.errors import InputError

__all__ = ["report"]


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mxhw codesign` or `mxhw emit` made.")],
    json: JsonOption = False,
) -> None:
    """Write `report.html` (and `front.svg` of a search) from what DIR holds. Needs no model.

    A `cosim.json` that is newer than the run, from `mxhw cosim DIR`, takes the place of the run's own.

    Example: `mxhw report build/demo`
    """
    from mxhw.report import write_cosim_page, write_front, write_report
    from mxhw.report.results import RESULTS_FILE, load_results
    from mxhw.sim.cosim import COSIM_FILE, find_designs
    from mxhw.sim.dataflow import DataflowDesign, is_dataflow_design
    from mxhw.sim.design import GemmDesign

    cosim: dict[str, Any] | None = None
    if (folder / COSIM_FILE).is_file():
        try:
            cosim = json_module.loads((folder / COSIM_FILE).read_text())
        except ValueError as error:
            raise InputError(f"{str(folder / COSIM_FILE)!r} is not JSON ({error}); run `mxhw cosim {folder}`") from None
    page = folder / "report.html"
    if (folder / RESULTS_FILE).is_file():
        results = load_results(folder)
        results = results.model_copy(update={"cosim": cosim or results.cosim})
        write_report(results, page)
        write_front(results, folder / "front.svg")
        pictures = [str(folder / "front.svg")]
    else:
        found = find_designs(folder)
        designs = [DataflowDesign.load(path) for path in found if is_dataflow_design(path)]
        layers = [GemmDesign.load(path) for path in found if not is_dataflow_design(path)]
        write_cosim_page(folder, cosim, layers, page, designs)
        pictures = []
    output = Output(as_json=json)
    if not json:
        output.say(f"report: {page}")
    output.result({"report": str(page), "pictures": pictures})
