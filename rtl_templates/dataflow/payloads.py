"""Payloads of the streams between components: ``lanes`` elements a beat, the first one lowest."""

from amaranth.hdl import signed
from amaranth.lib import data

from mxhw.arithmetic.dataflow import BlockCodes

__all__ = ["SCALE_BITS", "code_layout", "integer_layout"]

# Of a token of integers: 0 to 15, in the encoder's field of 8 bits.
SCALE_BITS = 4


def integer_layout(bits: int, lanes: int) -> data.ArrayLayout:
    """Return the payload of a stream of :class:`~mxhw.arithmetic.dataflow.Integers`."""
    return data.ArrayLayout(signed(bits), lanes)


def code_layout(codes: BlockCodes, lanes: int) -> data.StructLayout:
    """Return the payload of a stream of codes: what the encoders give; the fields of a block are on each beat."""
    if codes.kind == "dialect":
        return data.StructLayout({"codes": data.ArrayLayout(4, lanes), "dialect": 4, "exponent": 5})
    return data.StructLayout({"codes": data.ArrayLayout(signed(codes.bits), lanes), "exponent": 8})
