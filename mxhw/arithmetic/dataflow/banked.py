"""Runs of tokens of several sequences in any order: which tokens make which sequence, and their values.

A bank keeps the keys or the values of one sequence. Its tokens follow each other; position 0 starts a new sequence.
"""

import torch
from torch import Tensor

from mxhw.arithmetic.dataflow.streams import BlockValues
from mxhw.arithmetic.functions.softmax import SoftmaxWeights
from mxhw.errors import InputError

__all__ = ["bank_sequences", "codes_of", "weights_of"]


def bank_sequences(positions: Tensor, banks: Tensor, keys: int, count: int) -> list[Tensor]:
    """Return the places of the tokens of each sequence, in order; ``positions`` and ``banks`` are [1, tokens].

    Raises
    ------
    InputError
        Unless the positions of each bank are 0, 1, 2, … below ``keys``, again and again, and banks below ``count``.
    """
    if positions.shape != banks.shape or positions.ndim != 2 or len(positions) != 1:
        shapes = f"{list(positions.shape)} and {list(banks.shape)}"
        raise InputError(f"positions and banks of a run must be [1, tokens], not {shapes}")
    if not bool(((banks >= 0) & (banks < count)).all()):
        raise InputError(f"banks must be from 0 to {count - 1}, not {int(banks.min())} to {int(banks.max())}")
    found = []
    for bank in sorted(set(banks[0].tolist())):
        places = (banks[0] == bank).nonzero().flatten()
        own = positions[0, places]
        starts = (own == 0).nonzero().flatten()
        steps = torch.arange(len(own)) - torch.repeat_interleave(starts, _lengths(starts, len(own)))
        if int(own[0]) != 0 or not torch.equal(own, steps) or int(own.max()) >= keys:
            raise InputError(f"positions of bank {bank} must be 0, 1, 2, ... up to {keys - 1} in each of its sequences")
        found += list(places.split(_lengths(starts, len(own)).tolist()))
    return found


def _lengths(starts: Tensor, count: int) -> Tensor:
    """Return how far it is from each start to the next one, the first of which counts from 0."""
    ends = torch.cat([starts[1:], torch.tensor([count])])
    return ends - torch.cat([torch.zeros(1, dtype=torch.int64), starts[1:]])


def codes_of(x: BlockValues, places: Tensor) -> BlockValues:
    """Return the values of some tokens."""
    dialect = None if x.dialect is None else x.dialect[:, places]
    return BlockValues(x.codes[:, places], x.scale[:, places], dialect)


def weights_of(weights: SoftmaxWeights, places: Tensor) -> SoftmaxWeights:
    """Return the weights of the tokens of one sequence, for the keys that it has."""
    keys = len(places)
    mantissa, shift, weight = (part[:, :, places, :keys] for part in (weights.mantissa, weights.shift, weights.weight))
    return SoftmaxWeights(weights.seen[places, :keys], mantissa, shift, weight, weights.total[:, :, places])
