"""The build cache of simulation tests: the user's, as for all other tests, so that nothing is compiled twice."""

from pathlib import Path

import pytest

from mxhw.sim import default_cache


@pytest.fixture(scope="session")
def cache() -> Path:
    return default_cache()
