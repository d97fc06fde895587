"""GEMM nodes in hardware arithmetic: the modules that stand in for `linear`, `attn_qk` and `attn_pv`.

The product is `mxhw.arithmetic`'s, exact and equal to the RTL's; what surrounds it (bias, the scale of attention, how
key and value heads are shared by query heads) is done as the float operators do it.
"""

from torch import Tensor, nn

from mxhw.arithmetic import DynamicHardwareGemm
from mxhw.formats import Format

__all__ = ["HardwareAttentionPV", "HardwareAttentionQK", "HardwareLinear"]


class HardwareLinear(nn.Module):
    """`aten.linear` with the product in hardware arithmetic; `gemm` maps [..., M, K] to [..., M, N]."""

    def __init__(self, gemm: nn.Module) -> None:
        super().__init__()
        self.gemm = gemm

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y: Tensor = self.gemm(x).to(x.dtype)
        return y if bias is None else y + bias


class HardwareAttentionQK(nn.Module):
    """`mxhw.attn_qk` with the product in hardware arithmetic."""

    def __init__(self, lhs: Format, rhs: Format) -> None:
        super().__init__()
        self.gemm = DynamicHardwareGemm(lhs, rhs)

    def forward(self, q: Tensor, k: Tensor, scale: float) -> Tensor:
        """Return the scores [batch, heads, T, S] of q [batch, heads, T, dim] and k [batch, kv_heads, S, dim]."""
        scores = _over_heads(self.gemm, q, k)
        return scores if scale == 1.0 else scores * scale


class HardwareAttentionPV(nn.Module):
    """`mxhw.attn_pv` with the product in hardware arithmetic; the values are reduced along the sequence."""

    def __init__(self, lhs: Format, rhs: Format) -> None:
        super().__init__()
        self.gemm = DynamicHardwareGemm(lhs, rhs, w_axis=-2)

    def forward(self, p: Tensor, v: Tensor) -> Tensor:
        """Return [batch, heads, T, dim] of p [batch, heads, T, S] and v [batch, kv_heads, S, dim]."""
        return _over_heads(self.gemm, p, v)


def _over_heads(gemm: nn.Module, lhs: Tensor, rhs: Tensor) -> Tensor:
    """Multiply every query head with the key/value head that it shares (grouped-query attention)."""
    batch, heads, length, width = lhs.shape
    groups = rhs.shape[1]
    y: Tensor = gemm(lhs.reshape(batch, groups, heads // groups, length, width), rhs[:, :, None])
    return y.reshape(batch, heads, length, y.shape[-1]).to(lhs.dtype)
