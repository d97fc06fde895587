"""Drives the kernels with drawn shapes, layouts, types and values; run by test_kernel_memory.py under sanitizers.

    python tests/formats/fuzz_kernels.py FOLDER SET EXAMPLES

FOLDER holds the library of that instruction set, built with sanitizers. Prints how many examples ran.
"""

import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from mxhw.formats import kernels, parse_format
from tests.formats.draws import differences
from tests.formats.test_base import NAMES

kernels._FOLDER = Path(sys.argv[1])
counted = 0


@st.composite
def tensors(draw: st.DrawFn) -> tuple[torch.Tensor, int]:
    shape = draw(st.lists(st.integers(1, 70), min_size=1, max_size=3))
    axis = draw(st.integers(-len(shape), -1))
    shape[axis] = draw(st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 1025]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    x = torch.randn(shape, generator=generator) * 2.0 ** draw(st.integers(-140, 120))
    for value in draw(st.lists(st.sampled_from([torch.nan, torch.inf, -torch.inf, 3.4e38, -1e-45, 0.0]), max_size=3)):
        x.view(-1)[draw(st.integers(0, x.numel() - 1))] = value
    x = x.to(draw(st.sampled_from([torch.float32, torch.bfloat16])))
    return (x.transpose(0, -1) if draw(st.booleans()) and axis in (-len(shape), -1) else x), axis


@seed(0)
@settings(max_examples=int(sys.argv[3]), deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(NAMES), tensors(), st.booleans())
def fuzz(name: str, drawn: tuple[torch.Tensor, int], in_place: bool) -> None:
    global counted
    x, axis = drawn
    fmt = parse_format(name)
    if fmt.block is not None and "x" in name.partition("-b")[2] and axis < -2:
        return
    with kernels.use("torch"):
        expected = fmt.fake_quantize(x, axis)
    with kernels.use(sys.argv[2]):
        same = x.clone()
        result = fmt.fake_quantize(same, axis, out=same if in_place else None)
    assert differences(result, expected) == 0
    counted += 1


assert kernels.available() == (sys.argv[2],), kernels.available()
fuzz()
print(counted, "examples")
