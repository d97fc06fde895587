"""On-line quantizer to integers with one power-of-two scale per vector, the rule of the formats ``intB-e8m0``."""

from amaranth.hdl import signed

from mxhw.arithmetic.online_scaled import IntegerRounding, integer_offset
from mxhw.rtl_templates.encoder.elements import FloatElement, IntegerElement, require_integer_element
from mxhw.rtl_templates.encoder.scaled import ScaledEncoder
from mxhw.rtl_templates.template import UnitTemplate

__all__ = ["TEMPLATE", "IntegerEncoder"]


class IntegerEncoder(ScaledEncoder):
    """Encodes vectors of int16 mantissas along the stream, a token or a head each. One beat a cycle.

    The first beat of a vector leaves ``length / lanes + 3`` cycles after its first beat came (both transfers, without
    stalls).

    Parameters
    ----------
    bits : int
        Width of a code, 2 to 16.
    length : int
        Elements of a vector.
    lanes : int
        Elements of a beat; divides the length.
    exponent : int
        A mantissa counts units of ``2**exponent``, one of :func:`mxhw.arithmetic.online_scaled.integer_exponents`.
    rounding : "half_even" or "half_up"
        Half even is what the formats do.

    Members
    -------
    x, y
        See :class:`ScaledEncoder`. Codes are signed and symmetric.

    Raises
    ------
    InputError
        For another width or rounding, lanes that do not divide the length, or an exponent out of its range.
    """

    def __init__(
        self,
        *,
        bits: int = 8,
        length: int,
        lanes: int = 1,
        exponent: int = 0,
        rounding: IntegerRounding = "half_even",
    ) -> None:
        require_integer_element(bits, rounding)
        self._bits, self._rounding = bits, rounding
        super().__init__(
            length=length, name="length", lanes=lanes, code=signed(bits), offset=integer_offset(bits, exponent)
        )

    def _element(self) -> FloatElement | IntegerElement:
        return IntegerElement(bits=self._bits, rounding=self._rounding)


def _build(
    bits: int = 8, length: int = 128, lanes: int = 1, exponent: int = 0, rounding: str = "half_even"
) -> IntegerEncoder:
    return IntegerEncoder(bits=bits, length=length, lanes=lanes, exponent=exponent, rounding=rounding)


TEMPLATE = UnitTemplate(
    name="integer_encoder",
    kind="encoder",
    description="on-line quantizer of int16 vectors to integers with one power-of-two scale each",
    build=_build,
    choices={"rounding": ("half_even", "half_up")},
)
