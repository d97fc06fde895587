"""The `mxhw` command. One file a command; this one turns errors that a user can mend into one line and exit code 2."""

import sys
import warnings
from typing import TextIO

from mxhw.errors import InputError, MxhwWarning

__all__ = ["main"]

BAD_INPUT, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line and exit: 0 ok, 1 a check failed, 2 bad input, 130 stopped by Ctrl-C."""
    from mxhw.cli.app import load_commands

    with warnings.catch_warnings():
        warnings.showwarning = _warn
        try:
            load_commands()()
        except InputError as error:
            _say(f"mxhw: error: {error}")
            sys.exit(BAD_INPUT)
        except RuntimeError as error:
            if not _is_of_design(error):
                raise
            _say(f"mxhw: error: {error}")
            sys.exit(BAD_INPUT)
        except SystemExit as stopped:  # typer turns Ctrl-C into an exit code of its own
            if stopped.code == INTERRUPTED:
                _say("mxhw: stopped; what was finished is kept, the same command goes on from there")
            raise


def _is_of_design(error: RuntimeError) -> bool:
    """Whether an error says that emitted files cannot be built or simulated: they were damaged, or a tool is."""
    from mxhw.sim.cache import BuildError
    from mxhw.sim.streams import SimulationError

    return isinstance(error, BuildError | SimulationError)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, MxhwWarning):
        _say(f"mxhw: warning: {message}")
    else:
        _say(warnings.formatwarning(message, category, filename, lineno))


def _say(message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr)
