"""What every test may use."""

from pathlib import Path

import pytest
import torch

pytest_plugins = ["tests.tiny_run"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference vectors and models beside the repository; tests that need it skip without it."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("needs the reference material in ../shared, which is not here")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the clone."""
    return ROOT


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
