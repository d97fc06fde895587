"""Small GEMM layers for end-to-end tests, with the shapes that break tilings: nothing divides anything."""

from dataclasses import replace

import torch

from mxhw.passes.emit import GemmSource

BITMOD = "bitmod"
DIALECT = "dialect"


def small_layer(unit: str, **changes: object) -> GemmSource:
    """Return a layer of 5 tokens, 7 channels and a K that ends inside a group, on a 2 × 3 array.

    Magnitudes differ from token to token and block to block, and outliers reach the special values.
    """
    generator = torch.Generator().manual_seed(20)
    n, k, m = 7, (140 if unit == BITMOD else 70), 5
    weight = torch.randn(n, k, generator=generator) * torch.exp2(torch.randint(-3, 3, (n, 1), generator=generator))
    weight[torch.rand(n, k, generator=generator) > 0.97] *= 4
    inputs = torch.randn(m, k, generator=generator) * torch.exp2(torch.randint(-4, 4, (m, 1), generator=generator))
    formats = ("bitmod4", "int8-e8m0") if unit == BITMOD else ("dialect4", "dialect4-online")
    source = GemmSource(
        node=f"layer.{unit}",
        weight=weight,
        inputs=inputs,
        weight_format=formats[0],
        input_format=formats[1],
        rows=2,
        columns=3,
    )
    return replace(source, **changes)  # type: ignore[arg-type]
