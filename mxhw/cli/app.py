"""The command line application, and the options that several commands share."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

import mxhw

__all__ = [
    "AssignmentOption",
    "ConfigOnlyOption",
    "ExtensionOption",
    "JsonOption",
    "ModelArgument",
    "OutOption",
    "app",
    "load_commands",
]

COMMANDS = (
    "codesign",
    "capture",
    "evaluate",
    "generate",
    "cost",
    "search",
    "emit",
    "talk",
    "cosim",
    "report",
    "export",
    "synth",
    "formats",
    "passes",
    "platforms",
    "doctor",
)

app = typer.Typer(
    name="mxhw",
    help="Find, build and prove a mixed-precision accelerator for a language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)

JsonOption = Annotated[
    bool, typer.Option("--json", help="Write one JSON object to standard output, all else to standard error.")
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="A Hugging Face directory, a hub id, or `demo` (the shipped model).")
]
AssignmentOption = Annotated[
    Path | None,
    typer.Option(
        "--assignment",
        metavar="FILE",
        help="An assignment.json; default: bitmod4 weights, int8-e8m0 inputs and attention.",
    ),
]


def _load(files: list[Path] | None) -> list[Path] | None:
    """Run the files when the option is read: what a command does with names then knows what they registered."""
    if files:
        from mxhw.formats import load_extensions

        load_extensions(files)
    return files


ExtensionOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--extension",
        metavar="FILE",
        callback=_load,
        help="A Python file that registers formats or operations of your own; it is run, and only files named so are. "
        "May be repeated.",
    ),
]
ConfigOnlyOption = Annotated[
    bool,
    typer.Option("--config-only", help="MODEL is a config.json, or a directory that holds one; no weights are read."),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder to write.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mxhw {mxhw.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


def load_commands() -> Any:
    """Return the application with every command registered; of the commands, only the one asked for is imported."""
    # Nothing of ours needs a hub for a local model; libraries that phone home at import would only slow the start.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    asked = [word for word in sys.argv[1:] if not word.startswith("-")][:1]
    for name in asked if asked and asked[0] in COMMANDS else COMMANDS:
        import_module(f"mxhw.cli.{name}")
    return app
