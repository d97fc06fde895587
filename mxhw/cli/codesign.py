"""`mxhw codesign`: the main job, from a model to simulated RTL and a report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from mxhw.cli.app import ExtensionOption, JsonOption, OutOption, app
from mxhw.cli.console import Output

__all__ = ["codesign"]


@app.command()
def codesign(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file such as examples/demo.toml.")],
    out: OutOption = Path("build/codesign"),
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Search formats and arrays, emit the chosen design's RTL, prove it in simulation, and report.

    Stopped by Ctrl-C or killed, the same command goes on: finished trials are kept in DIR/study.db. Exit code 1 if the
    RTL differs from the software. `extensions` in CONFIG names Python files that register formats of your own; they
    are run.

    Example: `mxhw codesign examples/demo.toml --out build/demo`
    """
    from mxhw.flow import codesign as run
    from mxhw.flow import load_config
    from mxhw.report import cosim_verdict, summary_rows

    output = Output(as_json=json)
    words = [config, "--out", out, *(word for file in extension or () for word in ("--extension", file))]
    command = f"mxhw codesign {shlex.join(map(str, words))}"
    results = run(load_config(config, extension or ()), out, command=command, progress=output.progress)
    equal = cosim_verdict(results.cosim)
    if not json:
        names = ["", *[f"{d.family}{' (chosen)' if d.name == 'chosen' else ''}" for d in results.designs]]
        output.table(f"{results.model} on {results.platform}", names, summary_rows(results))
        output.say(f"chosen: {results.designs[0].reason}")
        output.say(f"report: {out / 'report.html'}")
    output.result({**results.model_dump(mode="json"), "rtl_equal": equal == "yes", "report": str(out / "report.html")})
    if equal != "yes":
        raise typer.Exit(1)
