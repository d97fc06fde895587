"""The few operations in which Python's numbers, NumPy's arrays and torch's tensors differ.

What is left (``+ - * / // **`` and comparisons, broadcasting included) they share. torch is not imported here: a tensor
can only be given by someone who has imported it.
"""

import math
import sys
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Numbers", "ceil_divide", "is_tensor", "maximum", "minimum", "power_of_two", "where"]

# A Python number, a NumPy array or a torch tensor; several of them broadcast, and the result is of the largest kind.
Numbers: TypeAlias = Any
_PLAIN = (int, float)


def is_tensor(value: Numbers) -> bool:
    """Return whether it is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _tensors(*values: Numbers) -> tuple[Any, ...]:
    """Return tensors on the device of the first one among them."""
    torch = sys.modules["torch"]
    device = next(value.device for value in values if is_tensor(value))
    return tuple(torch.as_tensor(value, device=device) for value in values)


def maximum(a: Numbers, b: Numbers) -> Numbers:
    """Return the larger of each pair."""
    if isinstance(a, _PLAIN) and isinstance(b, _PLAIN):
        return max(a, b)
    if is_tensor(a) or is_tensor(b):
        return sys.modules["torch"].maximum(*_tensors(a, b))
    return np.maximum(a, b)


def minimum(a: Numbers, b: Numbers) -> Numbers:
    """Return the smaller of each pair."""
    return -maximum(-a, -b)


def where(condition: Numbers, a: Numbers, b: Numbers) -> Numbers:
    """Return ``a`` where the condition holds, else ``b``."""
    if isinstance(condition, _PLAIN):
        return a if condition else b
    if is_tensor(condition) or is_tensor(a) or is_tensor(b):
        return sys.modules["torch"].where(*_tensors(condition, a, b))
    return np.where(condition, a, b)


def power_of_two(a: Numbers) -> Numbers:
    """Return the smallest power of two that is not below a number of at least 1; its derivative is 0."""
    if is_tensor(a):
        return 2 ** sys.modules["torch"].ceil(a.detach().double().log2()).to(a.dtype)
    if isinstance(a, _PLAIN):
        return 1 << math.ceil(a - 1).bit_length()
    return 2 ** np.ceil(np.log2(a)).astype(np.int64)


def ceil_divide(a: Numbers, b: Numbers, *, relaxed: bool = False) -> Numbers:
    """Return ``ceil(a / b)`` of natural numbers.

    ``relaxed``: ``(a + b - 1) / b`` instead, the least function without steps that is nowhere below it: equal where b
    divides ``a - 1``, above it by less than 1 elsewhere. It has derivatives by both.
    """
    return (a + b - 1) / b if relaxed else -(-a // b)
