"""Groups of FP16 activations and BitMoD weights: drawn with all corners, and the golden ones."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mxhw.arithmetic import WeightType, weight_type_named
from mxhw.arithmetic.bitmod_pe import Fp16Steps


@dataclass(frozen=True)
class Groups:
    """x float16 [G, K], codes [G, K] as stored, selector [G], scale [G]."""

    kind: WeightType
    x: Tensor
    codes: Tensor
    selector: Tensor
    scale: Tensor

    def steps(self, lanes: int = 4) -> Fp16Steps:
        return Fp16Steps.of(self.x, self.codes, self.kind, self.selector, lanes)


def drawn_groups(kind: WeightType, groups: int, chunks: int, seed: int, lanes: int = 4) -> Groups:
    """Random groups; every group has one of nine kinds of activations."""
    rng = np.random.default_rng(seed)
    size = groups, chunks * lanes
    signs = rng.choice([-1.0, 1.0], size)
    with np.errstate(over="ignore"):
        kinds = [
            rng.integers(0, 1 << 16, size).astype(np.uint16).view(np.float16),  # any pattern, Inf and NaN among them
            rng.standard_normal(size),
            rng.standard_normal(size) * 2.0 ** rng.integers(-12, 12, size),
            signs * 2.0 ** -rng.integers(14, 25, size),  # around the smallest normal number
            signs * 2.0 ** (15 - rng.integers(0, 3, size) * 13.0),  # exponents far apart
            np.full(size, 65504.0) * signs[:, :1],
            signs * 2.0 ** (np.sort(rng.integers(-14, 16, size), axis=1)[:, :: rng.choice([-1, 1])]),
            signs * (rng.random(size) < 0.1),
            np.zeros(size),
        ]
        x = np.choose(rng.integers(0, len(kinds), (groups, 1)), [np.asarray(k, np.float16) for k in kinds])
    codes = rng.integers(0, 1 << kind.code_bits, size)
    codes[::5] = kind.special_code or (1 << kind.code_bits - 1) - 1
    if not kind.magnitudes:
        codes[codes == 1 << kind.code_bits - 1] = 0  # the symmetric formats do not have it
    scale = rng.choice([0, 1, 128, 255, *range(256)], groups)
    integers = (torch.tensor(array) for array in (codes, rng.integers(0, 4, groups), scale))
    return Groups(kind, torch.tensor(x.astype(np.float16)), *integers)


def golden_groups(shared: Path, width: int) -> tuple[Groups, dict[str, np.ndarray[Any, Any]]]:
    """The golden groups of a width, and the file."""
    golden = dict(np.load(shared / "golden/bitmod" / f"pe_vectors_w{width}.npz"))
    kind = weight_type_named(f"fp{width}")
    codes = [
        [{kind.value(code, selector): code for code in range(1 << width)}[value] for value in row]
        for row, selector in zip(golden["code"].tolist(), golden["svidx"].tolist(), strict=True)
    ]
    selector, scale = (torch.tensor(golden[name].astype(np.int64)) for name in ("svidx", "qscale"))
    return Groups(kind, torch.tensor(golden["act"]), torch.tensor(codes), selector, scale), golden
