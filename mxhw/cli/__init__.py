"""The `mxhw` command. One file a command; this one turns errors that a user can mend into one line and exit code 2."""

import sys

from mxhw.errors import InputError

__all__ = ["main"]

OK, CHECK_FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main() -> None:
    """Run the command line and exit: 0 ok, 1 a check failed, 2 bad input, 130 stopped by Ctrl-C."""
    from mxhw.cli.app import load_commands

    try:
        code = load_commands()(standalone_mode=True)
    except InputError as error:
        sys.exit(_fail(f"mxhw: error: {error}", BAD_INPUT))
    except KeyboardInterrupt:
        sys.exit(_fail("mxhw: stopped; what was finished is kept, the same command goes on from there", INTERRUPTED))
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    print(" ".join(message.split()), file=sys.stderr)
    return code
