"""The C kernels give the bits of the torch path, on every instruction set that this processor has."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats import bitmod, kernels, parse_format
from tests.formats.draws import coarse, differences, hard_rows, near_ties
from tests.formats.test_base import NAMES

SETS = kernels.available()
WITH_KERNEL = [name for name in NAMES if parse_format(name).has_kernel]
CASES = [(name, isa) for name in WITH_KERNEL for isa in SETS]
needs_kernels = pytest.mark.skipif(not SETS, reason="the C kernels are not built here")


def special_rows(columns: int) -> torch.Tensor:
    """Rows with NaN and Inf in one block, in several, at the end, of either sign."""
    x = hard_rows(columns, seed=9, repeats=1)
    x[2, 3] = torch.nan
    x[5, columns - 1] = torch.inf
    x[7, columns // 2] = -torch.inf
    x[9] = -torch.nan
    return x


def inputs(dtype: torch.dtype) -> list[tuple[torch.Tensor, int]]:
    limit = torch.finfo(dtype).max
    rows = [hard_rows(columns, seed=columns, repeats=1) for columns in (128, 140, 33)]
    pairs = [(x, -1) for x in rows]
    pairs += [(hard_rows(100, seed=3, repeats=1).t().contiguous(), 0), (torch.randn(3, 50, 37), 1)]
    pairs += [(torch.randn(2, 3, 130, 20), -2), (torch.randn(3000), 0)]
    pairs = [(x.clamp(-limit, limit), axis) for x, axis in pairs]
    pairs += [(special_rows(256), -1), (special_rows(70).t().contiguous(), -2)]
    return [(x.to(dtype), axis) for x, axis in pairs]


def test_kernels_are_built_where_there_is_a_compiler():
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here")
    assert SETS[-1] == "baseline"


def test_every_library_is_built_of_every_source():
    folder = Path(kernels.__file__).parent
    project = tomllib.loads((folder.parents[2] / "pyproject.toml").read_text())
    modules = project["tool"]["setuptools"]["ext-modules"]
    assert [module["name"].rpartition("_")[2] for module in modules] == list(kernels.SETS)
    for module in modules:
        assert [Path(source).name for source in module["sources"]] == sorted(path.name for path in folder.glob("*.c"))
        assert {Path(header).name for header in module["depends"]} == {path.name for path in folder.glob("*.h")}
        assert not any("fast-math" in flag or "unsafe" in flag for flag in module["extra-compile-args"])
        assert "-ffp-contract=off" in module["extra-compile-args"]


@needs_kernels
@pytest.mark.parametrize(("name", "isa"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kernel_and_torch_path_give_the_same_bits(name, isa, dtype):
    fmt = parse_format(name)
    for x, axis in inputs(dtype):
        with kernels.use("torch"):
            expected = fmt.fake_quantize(x, axis)
        with kernels.use(isa):
            assert differences(fmt.fake_quantize(x, axis), expected) == 0, (x.shape, axis)
            same = x.clone()
            assert fmt.fake_quantize(same, axis, out=same) is same
            assert differences(same, expected) == 0, (x.shape, axis)


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(
    ("name", "largest"),
    [
        *(("bitmod4-sf32", 12), ("bitmod4", 16), ("bitmod3", 4), ("bitmod3", 6), ("bitmod3-oneterm", 16)),
        *(("dialect4", 7.5), ("nf4", 1), ("nvfp4", 6), ("razer", 8), ("fp8-e4m3", 448), ("int8", 127), ("mxfp4", 6)),
    ],
)
def test_values_a_few_bits_off_a_tie_go_the_same_way(name, largest, isa):
    fmt = parse_format(name)
    for seed in range(4):
        x = near_ties(256, largest, seed) * (-1) ** seed
        with kernels.use("torch"):
            expected = fmt.fake_quantize(x)
        with kernels.use(isa):
            assert differences(fmt.fake_quantize(x), expected) == 0


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(
    "name",
    [
        *("bitmod4", "bitmod3-sf32", "bitmod3-oneterm", "bitmod4-g1024", "dialect4", "dialect4-b16", "dialect4-b64"),
        *("mxfp4-mse", "mxint4-mse", "mxint8-b4x8-mse", "nvfp4-46", "razer", "razer-online"),
    ],
)
def test_near_ties_between_candidates_are_decided_alike(name, isa):
    fmt = parse_format(name)
    for seed in range(4):
        x = coarse(1024, seed)
        expected = _on_torch(fmt, x)
        with kernels.use(isa):
            assert differences(fmt.fake_quantize(x), expected) == 0


@needs_kernels
def test_near_ties_go_astray_without_margins(monkeypatch):
    """The control of the test above: a kernel that trusts its estimates decides some groups otherwise."""
    fmt, draws = parse_format("bitmod4"), [coarse(1024, seed) for seed in range(4)]
    expected = [_on_torch(fmt, x) for x in draws]
    monkeypatch.setattr(type(fmt), "_margins", (1.0, 0.0))
    bitmod._kernel.cache_clear()
    try:
        assert sum(differences(fmt.fake_quantize(x), y) for x, y in zip(draws, expected, strict=True)) > 0
    finally:
        bitmod._kernel.cache_clear()


@needs_kernels
def test_the_comparison_sees_a_kernel_of_another_format(monkeypatch):
    fmt, other = parse_format("int8-e8m0"), parse_format("int7-e8m0")
    x = torch.randn(4, 64)
    with kernels.use("torch"):
        expected = fmt.fake_quantize(x)
    original = type(fmt)._kernel
    monkeypatch.setattr(type(fmt), "_kernel", lambda self, x: original(other, x))
    assert differences(fmt.fake_quantize(x), expected) > 0


@needs_kernels
@pytest.mark.parametrize("name", ["mxfp4", "int8", "int4-g128-s8", "int8-tensor", "bitmod4", "dialect4", "nvfp4"])
def test_threads_and_results_written_past_the_caches_change_nothing(name):
    fmt = parse_format(name)
    x = torch.randn(1200, 4096)
    with kernels.use("torch"):
        expected = fmt.fake_quantize(x)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert differences(fmt.fake_quantize(x), expected) == 0
            assert differences(fmt.fake_quantize(x[:, 1:].contiguous()), _on_torch(fmt, x[:, 1:])) == 0
    finally:
        torch.set_num_threads(threads)


def _on_torch(fmt, x, axis=-1):
    with kernels.use("torch"):
        return fmt.fake_quantize(x, axis)


@pytest.mark.parametrize("name", ["mxfp6-e3m2", "int8", "int8-tensor", "dialect4-online"])
@pytest.mark.parametrize("axis", [0, 1])
def test_gaps_and_overlaps_are_no_trouble(name, axis):
    fmt = parse_format(name)
    memory = torch.randn(70, 200)
    expected = _on_torch(fmt, memory[:, :96].clone(), axis)
    x = memory[:, :96]
    assert differences(fmt.fake_quantize(x, axis), expected) == 0
    shifted = memory.clone()
    fmt.fake_quantize(shifted[:, :96], axis, out=shifted[:, 8:104])
    assert differences(shifted[:, 8:104].contiguous(), expected) == 0
    flat = torch.randn(71 * 96)
    x, out = flat[: 70 * 96].view(70, 96), flat[96:].view(70, 96)
    expected = _on_torch(fmt, x.clone(), axis)
    fmt.fake_quantize(x, axis, out=out)
    assert differences(out, expected) == 0


def test_other_kernels_can_be_chosen_and_wrong_names_are_named():
    with kernels.use("torch"):
        assert kernels.active() == "torch"
        with kernels.use(SETS[-1] if SETS else "torch"):
            assert kernels.active() == (SETS[-1] if SETS else "torch")
        assert kernels.active() == "torch"
    with (
        pytest.raises(InputError, match=r"kernels: must be .*torch here, not 'torhc'; did you mean 'torch'\?"),
        kernels.use("torhc"),
    ):
        pass


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    from os import environ

    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**environ, **environment}, check=False
    )


def test_the_environment_chooses_kernels_and_its_errors_are_clear():
    code = "from mxhw.formats import kernels; print(kernels.active())"
    assert run(code, MXHW_KERNELS="torch").stdout.strip() == "torch"
    wrong = run(code, MXHW_KERNELS="sse9")
    assert "MXHW_KERNELS: must be" in wrong.stderr
    assert "not 'sse9'" in wrong.stderr


def test_without_kernels_there_is_one_warning_and_the_same_bits(tmp_path):
    code = f"""
import warnings, pathlib, torch
from mxhw.formats import kernels, parse_format
kernels._FOLDER = pathlib.Path({str(tmp_path)!r})
x = torch.linspace(-3, 3, 96).view(3, 32)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    first = parse_format("mxfp4").fake_quantize(x)
    parse_format("int8").fake_quantize(x)
print(kernels.active(), len(caught), "slower" in str(caught[0].message), first.sum().item())
"""
    expected = parse_format("mxfp4").fake_quantize(torch.linspace(-3, 3, 96).view(3, 32)).sum().item()
    result = run(code, MXHW_KERNELS="")
    assert result.stdout.split() == ["torch", "1", "True", str(expected)], result.stderr


def test_a_library_that_is_none_is_passed_over(tmp_path, monkeypatch):
    from importlib.machinery import EXTENSION_SUFFIXES

    (tmp_path / f"_avx2{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a library")
    monkeypatch.setattr(kernels, "_FOLDER", tmp_path)
    assert kernels._load.__wrapped__("avx2") is None
    assert kernels._load.__wrapped__("avx512") is None
