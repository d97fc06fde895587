"""Settings of the tests of hardware."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Silence Amaranth: a constructor that refuses its arguments leaves an object that was never elaborated."""
    config.addinivalue_line("filterwarnings", "ignore::amaranth.hdl.UnusedElaboratable")
