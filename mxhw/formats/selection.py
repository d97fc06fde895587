"""Choosing the candidate of least squared error, exactly, where a quick estimate leaves doubt."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["first_minimum"]

# Pairs of block and candidate whose errors are summed at a time.
_PAIRS = 1 << 12


def first_minimum(in_doubt: Tensor, errors: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The candidate of least error per block: the only one in doubt, or of several the one of least float64 sum.

    Parameters
    ----------
    in_doubt : Tensor
        Float32 [blocks, candidates]: 1 for a candidate that an estimate leaves possible, else 0; at least one 1 each.
    errors : callable
        Gets block and candidate indices, int64 [pairs]; returns squared errors of the elements, float64 [pairs, block].

    Returns
    -------
    Tensor
        Int64 [blocks]. Sums are taken in index order; the first of equal ones wins.
    """
    identity = torch.arange(in_doubt.shape[-1], dtype=torch.float32, device=in_doubt.device)
    count, chosen = (in_doubt @ torch.stack((torch.ones_like(identity), identity), -1)).unbind(-1)
    chosen = chosen.long()
    rows = (count > 1).nonzero().squeeze(-1)
    if len(rows) == 0:
        return chosen
    row, candidate = in_doubt[rows].nonzero(as_tuple=True)
    table = torch.full((len(rows), len(identity)), torch.inf, dtype=torch.float64, device=in_doubt.device)
    for pairs in torch.split(torch.arange(len(row), device=row.device), _PAIRS):
        # A cumulative sum adds in index order; a plain sum does not say in which order it adds.
        table[row[pairs], candidate[pairs]] = errors(rows[row[pairs]], candidate[pairs]).cumsum(-1)[:, -1]
    chosen[rows] = table.argmin(-1)
    return chosen
