"""`mxhw doctor`: what is installed, what is missing, and the command that installs it."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.sim.toolchain import ToolStatus

__all__ = ["doctor"]

PACKAGES = ("torch", "transformers", "safetensors", "optuna", "pydantic", "plotly", "matplotlib")


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Check that everything that mxhw uses is here. Exit code 1 if something is missing that a command needs.

    Example: `mxhw doctor`
    """
    from mxhw.sim import toolchain

    tools = toolchain.check()
    for package in PACKAGES:
        try:
            found = version(package)
        except PackageNotFoundError:
            found = ""
        tools.append(toolchain.ToolStatus(package, bool(found), found, "all commands", f"pip install {package}"))
    tools.append(_kernels())
    missing = [tool.name for tool in tools if not tool.found and not tool.optional]
    output = Output(as_json=json)
    if not json:
        words = {(True, True): "yes", (True, False): "yes", (False, True): "no (optional)", (False, False): "NO"}
        cells = [
            [t.name, words[t.found, t.optional], t.version, t.needed_for, "" if t.found else t.install_hint]
            for t in tools
        ]
        output.table("mxhw doctor", ["what", "here", "version", "for", "to install"], cells)
        output.say("Everything is here." if not missing else f"Missing: {', '.join(missing)}.")
    output.result({"tools": [asdict(tool) for tool in tools], "missing": missing})
    if missing:
        raise typer.Exit(1)


def _kernels() -> ToolStatus:
    from mxhw.formats import kernels
    from mxhw.sim.toolchain import ToolStatus

    sets, hint = kernels.available(), "a C compiler, then mxhw again"
    return ToolStatus("C kernels", bool(sets), " ".join(sets), "formats at memory speed", hint, optional=True)
