"""Text that a model writes itself: what to calibrate or score on where a model comes without texts."""

import torch
from torch import Tensor

from mxhw.models.loading import LoadedModel

__all__ = ["written_windows"]

_TOP_P = 0.9


def written_windows(loaded: LoadedModel, context: int, count: int, *, seed: int = 0) -> Tensor:
    """Return ``count`` windows of ``context`` sampled tokens (nucleus of 0.9), int64 [count, context].

    Each begins with the model's begin token, or token 1. The global random state of torch is left as it was.
    """
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        start = torch.full((count, 1), int(getattr(loaded.model.config, "bos_token_id", None) or 1))
        written: Tensor = loaded.model.generate(
            start,
            attention_mask=torch.ones_like(start),
            do_sample=True,
            top_p=_TOP_P,
            top_k=0,
            max_new_tokens=context - 1,
            min_new_tokens=context - 1,
        )
    return written
