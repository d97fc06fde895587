"""RaZeR: NVFP4 whose redundant code "-0" is a special value, chosen per block by bits that the block scale frees.

Source: Chen et al., RaZeR (arXiv 2501.04052v2) and its released quantizer (yc2367/NVFP4-RaZeR). As NVFP4 it stores
4 bits an element, 8 bits a block and 32 bits a tensor; reciprocals, products and g >= 2^(-127 - e), with 2^e the
smallest block scale, are as in :mod:`mxhw.formats.nvfp4`.

- ``razer`` (weights): the block scale is E3M3 in 6 bits, two bits choose +5, -5, +8 or -8. g = amax / (6 * 28); the
  scale puts the block's maximum at the largest magnitude of the candidate's set: (amax / 6) / g for +-5 and
  (amax / 8) / g for +-8.
- ``razer-online`` (activations): the block scale is E4M3 without its sign in 7 bits, one bit chooses +5 or -5.
  g = amax / (6 * 448); scale (amax / 6) / g.

E3M3 has bias 3, the values 2^-5 to 28 with gradual underflow below 2^-2, and its last code unused: the range of the
released quantizer, which however rounds as E4M3 there and so uses scales below 2^-2 that 6 bits cannot tell.

An element is E2M1, nearest even, or the special value where that is strictly nearer: +5 for quotients in (4.5, 5.5),
+8 above 7, negative ones alike (the released weight rule sends ties down, its activation rule to the special value).
The first candidate of least squared error wins, in the order above; the error is that of the values. Zero is +0.
"""

from dataclasses import dataclass

from mxhw.formats.base import Field
from mxhw.formats.elements import ELEMENT_TYPES, ElementType
from mxhw.formats.nvfp4 import E2M1, TensorScaledFP4
from mxhw.formats.registry import register_format

__all__ = ["RAZER_SPECIAL_VALUES", "RazerFormat"]

# What the code "-0" means, by selector; keyed by whether the rule is the one for activations.
RAZER_SPECIAL_VALUES: dict[bool, tuple[float, ...]] = {False: (5.0, -5.0, 8.0, -8.0), True: (5.0, -5.0)}

_SCALE_TYPES = {False: ElementType(3, 3, 28.0), True: ELEMENT_TYPES["mxfp8-e4m3"]}


@dataclass(frozen=True)
class RazerFormat(TensorScaledFP4):
    """RaZeR: the rule for weights, or with ``online`` the one for activations.

    Code 8 is the special value. Metadata "selector", int32 [..., blocks], indexes ``RAZER_SPECIAL_VALUES``.
    """

    online: bool = False

    @property
    def name(self) -> str:
        return f"razer{'-online' * self.online}"

    @property
    def fields(self) -> tuple[Field, ...]:
        selector_bits = len(self.specials).bit_length() - 1
        scale, selector = Field("scale", 8 - selector_bits, "block"), Field("selector", selector_bits, "block")
        return Field("code", 4, "element"), scale, selector, Field("tensor_scale", 32, "tensor")

    @property
    def scale_type(self) -> ElementType:
        return _SCALE_TYPES[self.online]

    @property
    def reach(self) -> float:
        return E2M1.largest * self.scale_type.largest

    @property
    def specials(self) -> tuple[float, ...]:
        return RAZER_SPECIAL_VALUES[self.online]

    @property
    def candidates(self) -> tuple[tuple[float, float], ...]:
        return tuple((max(E2M1.largest, abs(special)), 1.0) for special in self.specials)


_NAMES = {"razer": False, "razer-online": True}

register_format(
    "razer[-online]",
    "RaZeR: NVFP4 whose code -0 is a special value per block: +-5 or +-8 (weights), +-5 (-online, activations)",
    lambda name: RazerFormat(_NAMES[name]) if name in _NAMES else None,
    list(_NAMES),
)
