"""On-line quantizer to OCP microscaling: MXFP4, MXFP6, MXFP8 and MXINT, with the scale rule of the standard (floor)."""

from amaranth.hdl import signed, unsigned

from mxhw.arithmetic.online_scaled import MX_ELEMENTS, element_format, float_steps, mx_offset
from mxhw.formats import MXFloatFormat
from mxhw.rtl_templates.checks import require_natural
from mxhw.rtl_templates.encoder.elements import FloatElement, IntegerElement
from mxhw.rtl_templates.encoder.scaled import ScaledEncoder
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "MXEncoder"]


class MXEncoder(ScaledEncoder):
    """Encodes blocks of int16 mantissas along the stream. One beat a cycle.

    The first beat of a block leaves ``block / lanes + 3`` cycles after its first beat came (both transfers, without
    stalls).

    Parameters
    ----------
    element : str
        "mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2", "mxint2" to "mxint8".
    block : int
        Elements that share a scale.
    lanes : int
        Elements of a beat; divides the block.
    exponent : int
        A mantissa counts units of ``2**exponent``, one of :func:`mxhw.arithmetic.online_scaled.mx_exponents`.

    Members
    -------
    x, y
        See :class:`ScaledEncoder`. Float codes are unsigned, integer codes signed.

    Raises
    ------
    InputError
        For an unknown element, lanes that do not divide the block, or an exponent out of its range.
    """

    def __init__(self, *, element: str = "mxfp4", block: int = 32, lanes: int = 1, exponent: int = 0) -> None:
        require_natural("block", block)
        self._format = element_format(element, block)
        is_float, bits = isinstance(self._format, MXFloatFormat), self._format.type.bits
        super().__init__(
            length=block,
            name="block",
            lanes=lanes,
            code=unsigned(bits) if is_float else signed(bits),
            offset=mx_offset(self._format, exponent),
        )

    def _element(self) -> FloatElement | IntegerElement:
        if isinstance(self._format, MXFloatFormat):
            return FloatElement(bits=self._format.type.bits, steps=float_steps(self._format))
        return IntegerElement(bits=self._format.width)


def _build(element: str = "mxfp4", block: int = 32, lanes: int = 1, exponent: int = 0) -> MXEncoder:
    return MXEncoder(element=element, block=block, lanes=lanes, exponent=exponent)


TEMPLATE = UnitTemplate(
    name="mx_encoder",
    kind="encoder",
    description="on-line quantizer of int16 values to OCP microscaling blocks",
    build=_build,
    choices={"element": MX_ELEMENTS},
)
