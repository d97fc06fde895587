"""The half-precision MAC equals its arithmetic over drawn operands, corners, cancellations and long sums."""

import numpy as np
import pytest
import torch

from mxhw.arithmetic.float16 import float16_mac
from mxhw.errors import InputError
from mxhw.rtl_templates.mac import Float16Mac
from tests.arithmetic.test_float16 import CORNERS, drawn
from tests.rtl_templates.bank import Bench

ONE = 0x3C00
ROUNDINGS = ("nearest", "truncate")


def expected(rounding: str, x: list[int], w: list[int], first: list[int], enable: list[int]) -> list[int]:
    """The accumulator in the cycle after each of those given; sums that start together are computed together."""
    begins = [i for i, starts in enumerate(first) if starts and enable[i]]
    lengths = np.diff([*begins, len(x)])
    state, result = torch.zeros(len(begins), dtype=torch.int64), np.zeros(len(x), dtype=np.int64)
    at = torch.tensor(begins)
    columns = [torch.tensor(values) for values in (x, w, enable)]
    for step in range(int(lengths.max())):
        alive = torch.tensor(lengths) > step
        where = (at + step)[alive]
        moved = float16_mac(state[alive], columns[0][where], columns[1][where], rounding)
        state[alive] = torch.where(columns[2][where] != 0, moved, state[alive])
        result[where.numpy()] = state[alive].numpy()
    return result.tolist()


def stimulus(seed: int) -> tuple[dict[str, list[int]], int]:
    """Pairs of (load an accumulator, add a product), then all pairs of corners, then long sums with pauses."""
    rng = np.random.default_rng(seed)
    c, x, w = drawn(30_000, seed)
    corners = [code | sign << 15 for code in CORNERS for sign in (0, 1)]
    c += [a for a in corners for _ in CORNERS for _ in CORNERS]
    x += [b for _ in corners for b in CORNERS for _ in CORNERS]
    w += [d for _ in corners for _ in CORNERS for d in CORNERS]
    ports = {
        "x": [code for pair in zip(c, x, strict=True) for code in pair],
        "w": [code for d in w for code in (ONE, d)],
        "first": [1, 0] * len(c),
        "enable": [1] * (2 * len(c)),
    }
    # Products of ordinary size, so that sums neither vanish nor saturate at once.
    tail = 8_000
    for side in "xw":
        ports[side] += torch.tensor(rng.normal(size=tail)).half().view(torch.int16).long().bitwise_and(0xFFFF).tolist()
    ports["first"] += [int(i % 500 == 0) for i in range(tail)]
    ports["enable"] += [int(i % 500 == 0 or rng.random() < 0.8) for i in range(tail)]
    return ports, len(ports["x"])


def test_both_versions_equal_their_arithmetic():
    units = {rounding: Float16Mac(rounding=rounding) for rounding in ROUNDINGS}
    ports, length = stimulus(5)
    ended = {port: [*values, 0] for port, values in ports.items()}
    trace = Bench(units).trace(dict.fromkeys(ROUNDINGS, ended))
    wanted = {rounding: expected(rounding, **ports) for rounding in ROUNDINGS}
    for rounding in ROUNDINGS:
        found = [int(v) for v in trace[rounding]["result"][1 : length + 1]]
        assert found == wanted[rounding], rounding
    # The control: the two versions differ, so that one would not pass for the other.
    assert sum(a != b for a, b in zip(*wanted.values(), strict=True)) > length // 4


def test_an_unknown_rounding_is_refused():
    with pytest.raises(InputError, match="rounding must be one of nearest, truncate, not 'up'"):
        Float16Mac(rounding="up")
