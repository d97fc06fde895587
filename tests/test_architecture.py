"""The rooms import each other only downwards, and nothing imports the top-level folders by their bare names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assembled import assemble


def lint(folder: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    shutil.copy(repository / "pyproject.toml", folder)
    program = shutil.which("lint-imports", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("import-linter is not installed (pip install -e '.[dev]')")
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [program, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_rooms_import_downwards_only(tmp_path: Path, repository: Path) -> None:
    assemble(tmp_path)
    result = lint(tmp_path, repository)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_upward_import_is_caught(tmp_path: Path, repository: Path) -> None:
    package = assemble(tmp_path)
    with (package / "formats" / "base.py").open("a") as file:
        file.write("\nimport mxhw.passes\n")
    result = lint(tmp_path, repository)
    assert result.returncode == 1
    assert "mxhw.formats.base -> mxhw.passes" in result.stdout
