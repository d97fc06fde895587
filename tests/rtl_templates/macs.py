"""What the tests of MACs share: block operands as their ports take them, and pauses of a clock enable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mxhw.arithmetic import BlockElement, Decoded, block_element, decode_element


@dataclass
class Blocks:
    """Codes [blocks, block] of one side, and the dialect of each block where the element has dialects."""

    element: BlockElement
    codes: np.ndarray
    dialect: np.ndarray

    def decoded(self) -> Decoded:
        """What the decoders give."""
        return decode_element(self.element.name, torch.tensor(self.codes), torch.tensor(self.dialect)[:, None])

    def operands(self) -> np.ndarray:
        """Decoded operands as the bits of a port."""
        kind, decoded = self.element, self.decoded()
        if kind.kind == "integer":
            return self.codes & ((1 << kind.code_bits) - 1)
        sign, significand, shift = (part.numpy() for part in (decoded.sign, decoded.significand, decoded.shift))
        return significand | shift << kind.significand_bits | sign << kind.significand_bits + kind.shift_bits


def drawn_blocks(name: str, count: int, block: int, rng: np.random.Generator) -> Blocks:
    """Random codes that encoders make; the first two blocks are all of the largest magnitude, of either sign."""
    kind = block_element(name)
    dialect = rng.integers(0, 16, count)
    every = torch.arange(1 << kind.code_bits)
    largest = decode_element(name, every, torch.zeros_like(every)).integers().abs()
    codes = rng.choice(every[largest <= kind.largest].numpy(), (count, block))
    top = int((largest == kind.largest).nonzero()[0])
    other = int((largest == kind.largest).nonzero()[1])
    codes[0], codes[1], dialect[:2] = top, other, 0
    return Blocks(kind, codes, dialect)


def stalled(rows: Mapping[str, Sequence[int]], rng: np.random.Generator, gate: str) -> tuple[dict[str, list[int]], Any]:
    """Put cycles without ``gate`` between those given, with rubbish of the same cycle; and where each cycle went."""
    count = len(rows[gate])
    place = np.cumsum(rng.integers(0, 3, count) == 0) + np.arange(count)
    length = int(place[-1]) + 2
    result = {}
    for name, values in rows.items():
        source = np.minimum(np.searchsorted(place, np.arange(length), side="left"), count - 1)
        result[name] = [values[i] for i in source]
    passes = np.isin(np.arange(length), place)
    result[gate] = [int(values and on) for values, on in zip(result[gate], passes, strict=True)]
    return result, place
