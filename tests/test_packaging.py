"""mxhw works from a wheel, from an editable install and from its clone; the wheel holds what git tracks, no more."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

PROBE = (
    "import json, mxhw, mxhw.passes, mxhw.rtl_templates, mxhw.sim;"
    "from mxhw.models import load_model;"
    "print(json.dumps([mxhw.__file__, mxhw.passes.__file__, mxhw.__version__, load_model('demo').name]))"
)


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def tracked(repository: Path) -> list[str]:
    result = run("git", "ls-files", cwd=repository)
    if result.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in result.stdout.splitlines() if (repository / name).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the tracked files."""
    repository = Path(__file__).resolve().parent.parent
    source = tmp_path_factory.mktemp("source")
    for name in tracked(repository):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, source / name)
    result = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", source / "dist", cwd=source)
    assert result.returncode == 0, result.stdout + result.stderr
    return next((source / "dist").glob("*.whl"))


def test_the_wheel_holds_exactly_the_tracked_package_files(wheel: Path, repository: Path) -> None:
    mapping = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    folders = {source: package.replace(".", "/") for package, source in mapping.items()}
    expected = {
        f"{folders[name.split('/')[0]]}/{name.split('/', 1)[1]}"
        for name in tracked(repository)
        if "/" in name and name.split("/")[0] in folders
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    built = {name for name in names if name.endswith(".so")}
    assert names - built == expected
    if shutil.which("gcc"):
        assert {name.split(".")[0] for name in built} >= {"mxhw/formats/kernels/_baseline"}


def environment_with_packages(folder: Path) -> Path:
    """A new virtual environment that sees this one's packages; returns its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=folder).stdout.strip())
    ours = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    for entry in ours.iterdir():  # everything but an installed mxhw
        if "mxhw" not in entry.name.lower():
            (site / entry.name).symlink_to(entry)
    return python


def pip_install(python: Path, *what: str | Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
    ]
    result = run(*command, "--no-index", *what, cwd=python.parent)
    assert result.returncode == 0, result.stderr


def test_a_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    python = environment_with_packages(tmp_path / "env")
    pip_install(python, wheel)
    probe = run(python, "-c", PROBE, cwd=tmp_path)
    assert probe.returncode == 0, probe.stderr
    package, passes, _, model = json.loads(probe.stdout)
    assert "site-packages/mxhw" in package
    assert "site-packages/mxhw/passes" in passes
    assert model == "demo"
    script = run(python.parent / "mxhw", "formats", "--json", cwd=tmp_path)
    assert script.returncode == 0, script.stderr
    assert "dialect4" in json.dumps(json.loads(script.stdout))


def test_an_editable_install_works_from_elsewhere(tmp_path: Path, repository: Path) -> None:
    clone = tmp_path / "clone"
    for name in tracked(repository):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(repository / name, clone / name)
    python = environment_with_packages(tmp_path / "env")
    pip_install(python, "-e", clone)
    probe = run(python, "-c", PROBE, cwd=tmp_path)
    assert probe.returncode == 0, probe.stderr
    package, passes, *_ = json.loads(probe.stdout)
    assert package == str(clone / "mxhw" / "__init__.py")
    assert passes == str(clone / "passes" / "__init__.py")
    assert run(python.parent / "mxhw", "passes", cwd=tmp_path).returncode == 0


def test_the_clone_works_from_its_root_without_an_install(tmp_path: Path, repository: Path) -> None:
    python = environment_with_packages(tmp_path / "env")
    probe = run(python, "-c", PROBE, cwd=repository)
    assert probe.returncode == 0, probe.stderr
    assert run(python, "-m", "mxhw", "platforms", cwd=repository).returncode == 0


def test_import_is_quick_because_heavy_packages_wait(repository: Path) -> None:
    heavy = ("torch", "transformers", "amaranth", "optuna", "pydantic", "typer")
    code = f"import sys, mxhw; print([name for name in {heavy} if name in sys.modules])"
    assert run(sys.executable, "-c", code, cwd=repository).stdout.strip() == "[]"
