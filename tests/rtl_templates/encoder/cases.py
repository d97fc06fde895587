"""Encoders with the beats that they take and the beats that they owe."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mxhw.arithmetic.online_dialect import encode_dialect
from mxhw.arithmetic.online_scaled import encode_integer, encode_mx
from mxhw.rtl_templates.encoder import DialectEncoder, IntegerEncoder, MXEncoder
from tests.rtl_templates.bank import Bench, beats


@dataclass(frozen=True)
class Case:
    """An encoder and its definition: ``expected`` maps blocks to codes, and fields of a block with widths."""

    unit: Any
    block: int
    lanes: int
    code_bits: int
    expected: Any

    def x(self, blocks: Tensor) -> list[int]:
        """Beats of values."""
        return beats(blocks, 16, self.lanes)

    def y(self, blocks: Tensor) -> list[int]:
        """Beats that must come."""
        codes, *fields = self.expected(blocks)
        words, at = beats(codes, self.code_bits, self.lanes), self.lanes * self.code_bits
        above = [0] * len(blocks)
        for values, bits in fields:
            above = [word | value << at for word, value in zip(above, values.tolist(), strict=True)]
            at += bits
        per_block = self.block // self.lanes
        return [beat | above[i // per_block] for i, beat in enumerate(words)]


def dialect(block: int, lanes: int, source: str = "int16", exponent: int = 0) -> Case:
    """A DialectEncoder."""

    def expected(blocks: Tensor) -> Any:
        codes, chosen, stored = encode_dialect(blocks, source, exponent)
        return codes, (chosen, 4), (stored, 5)

    unit = DialectEncoder(block=block, lanes=lanes, source=source, exponent=exponent)
    return Case(unit, block, lanes, 4, expected)


def mx(element: str, block: int, lanes: int, exponent: int = 0) -> Case:
    """An MXEncoder."""

    def expected(blocks: Tensor) -> Any:
        codes, byte = encode_mx(blocks, element, exponent)
        return codes, (byte, 8)

    unit = MXEncoder(element=element, block=block, lanes=lanes, exponent=exponent)
    return Case(unit, block, lanes, unit._format.type.bits, expected)


def integer(bits: int, length: int, lanes: int, exponent: int = 0, rounding: str = "half_even") -> Case:
    """An IntegerEncoder."""

    def expected(blocks: Tensor) -> Any:
        codes, byte = encode_integer(blocks, bits, exponent, rounding)
        return codes, (byte, 8)

    unit = IntegerEncoder(bits=bits, length=length, lanes=lanes, exponent=exponent, rounding=rounding)
    return Case(unit, length, lanes, bits, expected)


def check(bench: Bench, cases: dict[str, Case], blocks: dict[str, Tensor], stall: float = 0.0, seed: int = 0) -> None:
    """Run all encoders at once; every beat of every one must be the defined one."""
    assert wrong(bench, cases, blocks, blocks, stall, seed) == []


def wrong(
    bench: Bench,
    cases: dict[str, Case],
    sent: dict[str, Tensor],
    defined: dict[str, Tensor],
    stall: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Return the encoders that do not make of ``sent`` the beats of ``defined``."""
    owed = {name: case.y(defined[name]) for name, case in cases.items()}
    inputs = {name: {"x": case.x(sent[name])} for name, case in cases.items()}
    run = bench.run_all(inputs, {name: {"y": len(words)} for name, words in owed.items()}, stall=stall, seed=seed)
    return [name for name, words in owed.items() if run.ints(f"{name}__y") != words]
