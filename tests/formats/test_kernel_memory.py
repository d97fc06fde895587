"""The kernels touch no memory but theirs: drawn inputs under the address and undefined-behaviour sanitizers."""

import importlib.machinery
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mxhw.formats import kernels

ROOT = Path(__file__).parents[2]
SOURCES = Path(kernels.__file__).parent
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here"),
    pytest.mark.xdist_group("sanitizers"),
]


def build(folder: Path, isa: str, sources: Path) -> None:
    """Compile the kernels with the flags of pyproject.toml and sanitizers, unoptimized, into ``folder``."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    modules = project["tool"]["setuptools"]["ext-modules"]
    module = next(module for module in modules if module["name"].endswith(f"_{isa}"))
    flags = [flag for flag in module["extra-compile-args"] if flag != "-O3"]
    target = folder / f"_{isa}{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    files = [sources / Path(source).name for source in module["sources"]]
    subprocess.run(["gcc", "-shared", "-fPIC", *flags, *SANITIZERS, "-o", target, *files, "-lm"], check=True)


def fuzz(folder: Path, isa: str, examples: int) -> subprocess.CompletedProcess[str]:
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment = os.environ | {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "MXHW_KERNELS": "",
    }
    command = [sys.executable, str(ROOT / "tests/formats/fuzz_kernels.py"), str(folder), isa, str(examples)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("isa", kernels.SETS)
def test_no_kernel_touches_memory_that_is_not_its_own(isa, tmp_path):
    if isa not in kernels.available():
        pytest.skip(f"this processor or installation has no {isa} kernels")
    build(tmp_path, isa, SOURCES)
    result = fuzz(tmp_path, isa, 1500)
    assert result.returncode == 0, result.stderr[-3000:]
    assert int(result.stdout.split()[0]) > 1000


def test_the_sanitizer_sees_a_buffer_that_is_too_short(tmp_path):
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    walk = (sources / "walk.c").read_text()
    faulty = walk.replace("(size_t)(2 * elements + row)", "(size_t)(elements + row)")
    assert faulty != walk
    (sources / "walk.c").write_text(faulty)
    build(tmp_path, "baseline", sources)
    result = fuzz(tmp_path, "baseline", 300)
    assert result.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in result.stderr
