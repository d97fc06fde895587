"""The recurrence of state space models as one operator, so that a capture stays symbolic in the sequence.

transformers computes Mamba's selective scan (Gu and Dao 2023, equation 2) in a Python loop over the tokens when its
compiled kernels are absent; an exported loop has one copy of its body per token, for one length only. Here the
recurrence alone is an operator, `mxhw.scan`, and the read-out of all states is one batched product, whose operands are
quantization sites like any other. The values are those of the loop, operation for operation.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["REPLACEMENTS", "scan", "selective_scan"]

_LIBRARY = torch.library.Library("mxhw", "FRAGMENT")  # type: ignore[no-untyped-call]


def scan(decay: Tensor, update: Tensor) -> Tensor:
    """Return the states h[:, t] = decay[:, :, t] * h[:, t - 1] + update[:, :, t], from h[:, -1] = 0.

    Parameters
    ----------
    decay, update : [batch, channels, tokens, state]

    Returns
    -------
    Tensor [batch, tokens, channels, state]
    """
    state = torch.zeros_like(update[:, :, 0])
    states = []
    for token in range(update.shape[2]):
        state = decay[:, :, token] * state + update[:, :, token]
        states.append(state)
    return torch.stack(states, dim=1)


def _like_states(decay: Tensor, update: Tensor) -> Tensor:
    return update.new_empty(update.shape[0], update.shape[2], update.shape[1], update.shape[3])


_LIBRARY.define("scan(Tensor decay, Tensor update) -> Tensor")  # type: ignore[no-untyped-call]
_LIBRARY.impl("scan", scan, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("mxhw::scan", _like_states, lib=_LIBRARY)
# Gradients are those of the torch operators inside.
_LIBRARY.impl("scan", torch.library.fallthrough_kernel, "Autograd")  # type: ignore[no-untyped-call]


def selective_scan(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands in for `mamba_selective_scan` of transformers, `original`, while a model is captured.

    Both take and return the same: inputs and step sizes [batch, channels, tokens], A [channels, state], B and C
    [batch, state, tokens]; the outputs [batch, channels, tokens]. Where a model asks for another algorithm than the
    loop (mamba.py's parallel scan) or for the last state, the original is called.
    """

    def scanned(
        hidden_states: Tensor,
        dt: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None = None,
        z: Tensor | None = None,
        delta_bias: Tensor | None = None,
        delta_softplus: bool = False,
        return_last_state: bool = False,
        use_mambapy: bool = False,
        **options: Any,
    ) -> Any:
        if return_last_state or use_mambapy:
            options |= {"return_last_state": return_last_state, "use_mambapy": use_mambapy}
            return original(hidden_states, dt, A, B, C, D, z, delta_bias, delta_softplus, **options)
        if delta_bias is not None:
            dt = dt + delta_bias.to(dt.dtype)[..., None]
        if delta_softplus:
            dt = torch.nn.functional.softplus(dt)
        decay = torch.exp(A[None, :, None, :] * dt[:, :, :, None])
        update = dt[:, :, :, None] * B.transpose(1, 2)[:, None, :, :].float() * hidden_states[:, :, :, None].float()
        states = torch.ops.mxhw.scan(decay, update).to(hidden_states.dtype)
        y = torch.matmul(states, C.transpose(1, 2).unsqueeze(-1)).squeeze(-1).transpose(1, 2)
        if D is not None:
            y = y + hidden_states * D[None, :, None]
        return y if z is None else y * torch.nn.functional.silu(z)

    return scanned


# Functions of Hugging Face modelling files, and what makes the one that stands in for each while a model is captured.
REPLACEMENTS = {"mamba_selective_scan": selective_scan}
