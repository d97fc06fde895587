"""Values of an integer graph as payloads."""

import numpy as np
import torch
from torch import Tensor

from mxhw.arithmetic.dataflow import BlockCodes, BlockValues
from tests.rtl_templates.bank import beats


def mantissas(tokens: int, length: int, seed: int, bits: int = 16) -> Tensor:
    """Drawn integers [1, tokens, length], tokens of all sizes; then one of zeros, and the largest of both signs."""
    generator = torch.Generator().manual_seed(seed)
    largest = (1 << bits - 1) - 1
    drawn = torch.randint(-largest, largest + 1, (1, tokens, length), generator=generator)
    drawn >>= torch.randint(0, bits, (1, tokens, 1), generator=generator)
    drawn[0, -3] = 0
    drawn[0, -2], drawn[0, -1] = largest, -largest
    return drawn


def integer_beats(values: Tensor, bits: int, lanes: int) -> list[int]:
    """Payloads of a stream of integers [..., length]."""
    return beats(values.numpy().astype(object) if bits * lanes > 62 else values, bits, lanes)


def code_beats(codes: BlockCodes, values: BlockValues, lanes: int) -> list[int]:
    """Payloads of a stream of codes."""
    low = beats(values.codes, codes.bits, lanes)
    at, repeats = codes.bits * lanes, codes.block // lanes
    scale = np.repeat(values.scale.flatten().numpy(), repeats).tolist()
    if values.dialect is None:
        return [a | b << at for a, b in zip(low, scale, strict=True)]
    dialect = np.repeat(values.dialect.flatten().numpy(), repeats).tolist()
    return [a | b << at | c << at + 4 for a, b, c in zip(low, dialect, scale, strict=True)]
