"""What every test may use."""

from collections.abc import Iterator
from pathlib import Path

# First of all: matplotlib's extension modules once failed to load late in a worker that had loaded many simulators.
import matplotlib.pyplot  # noqa: F401
import pytest
import torch

pytest_plugins = ["tests.tiny_language", "tests.tiny_run"]
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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the hardware tests of a file on one worker, so that it compiles its components once."""
    folders = [ROOT / "tests" / name for name in ("rtl_templates", "sim", "passes/emit")]
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in folders) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(ROOT))))


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests measure out of the user's cache; processes that they start see the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MXHW_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
