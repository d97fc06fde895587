"""`mxhw doctor`: what is installed, what is missing, and the command that installs it."""

from importlib.metadata import PackageNotFoundError, version

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

__all__ = ["doctor"]

PACKAGES = ("torch", "transformers", "safetensors", "optuna", "pydantic", "plotly", "matplotlib")


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Check that everything that mxhw uses is here. Exit code 1 if something is missing.

    Example: `mxhw doctor`
    """
    from mxhw.sim import toolchain

    rows = []
    for package in PACKAGES:
        try:
            rows.append(
                {
                    "name": package,
                    "found": True,
                    "version": version(package),
                    "needed_for": "Python package",
                    "install": "",
                }
            )
        except PackageNotFoundError:
            hint = f"pip install {package}"
            rows.append(
                {"name": package, "found": False, "version": "", "needed_for": "Python package", "install": hint}
            )
    for tool in toolchain.check():
        hint = "" if tool.found else tool.install_hint
        rows.append(
            {
                "name": tool.name,
                "found": tool.found,
                "version": tool.version,
                "needed_for": tool.needed_for,
                "install": hint,
            }
        )
    missing = [row["name"] for row in rows if not row["found"]]
    output = Output(as_json=json)
    if not json:
        cells = [
            [str(r["name"]), "yes" if r["found"] else "NO", str(r["version"]), str(r["needed_for"]), str(r["install"])]
            for r in rows
        ]
        output.table("mxhw doctor", ["what", "here", "version", "for", "to install"], cells)
        output.say("Everything is here." if not missing else f"Missing: {', '.join(map(str, missing))}.")
    output.result({"tools": rows, "missing": missing})
    if missing:
        raise typer.Exit(1)
