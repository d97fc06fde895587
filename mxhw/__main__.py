"""`python -m mxhw` is the `mxhw` command."""

from mxhw.cli import main

main()
