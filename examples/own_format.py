"""A number format of one's own: a 4-bit logarithmic format, in one file that mxhw is not changed for.

    mxhw formats --extension examples/own_format.py lns4 lns4-b16

In Python `mxhw.formats.load_extension("examples/own_format.py")`; in a config of `mxhw search`:

    extensions = ["own_format.py"]         # relative to the config's folder

    [search]
    objectives = ["kl", "bits"]            # no hardware unit multiplies this format; its bits are counted all the same
    families = ["emulated"]
    emulated_weights = ["lns4", "lns4-b16", "mxfp4"]
    emulated_inputs = "mxfp8-e4m3"
    emulated_attention = ["mxfp8-e4m3"]

The format. A block of 32 (or N, in `lns4-bN`) shares the scale 2^floor(log2 amax), at least 2^-127, stored as E8M0, a
byte. A code is a sign and 3 bits m: m = 0 is zero, m = 1..7 is 2^((m-6)/2), half an octave a step, from 2^-2.5 to
2^0.5, as float32. The quotient x / scale takes the magnitude that is nearest in the logarithm: m is the number of
thresholds that it reaches, 2^((m-6.5)/2) as float32 below m = 2..7, and half of the smallest magnitude below m = 1,
since zero has no logarithm.
Quotients (but for some far below all thresholds) and comparisons are exact; a value is the float32 product of magnitude
and scale, which never overflows. The sign of zero is kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mxhw import InputError
from mxhw.formats import Encoded, Field, Format, Parts, register_format
from mxhw.formats.powers import E8M0_BIAS, exponent_of, power_of_two

MAGNITUDES = torch.tensor([0.0, *(2.0 ** ((m - 6) / 2) for m in range(1, 8))])
THRESHOLDS = [2.0**-3.5, *(2.0 ** ((m - 6.5) / 2) for m in range(2, 8))]
SIGN = 8
BLOCK = 32


@dataclass(frozen=True)
class LogarithmicFormat(Format):
    """Sign and seven magnitudes half an octave apart. Codes are uint8; metadata "exponent" is the E8M0 byte."""

    size: int = BLOCK

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InputError(f"{self.name}: a block has at least 1 element, not {self.size}")

    @property
    def name(self) -> str:
        return "lns4" if self.size == BLOCK else f"lns4-b{self.size}"

    @property
    def block(self) -> int:
        return self.size

    @property
    def fields(self) -> tuple[Field, ...]:
        return Field("code", 4, "element"), Field("exponent", 8, "block")

    def _encode_blocks(self, blocks: Tensor, peak: Tensor) -> Parts:
        exponent = exponent_of(peak)
        quotient = blocks.abs() * power_of_two(-exponent)
        codes = torch.signbit(blocks).to(torch.uint8) * SIGN
        for threshold in THRESHOLDS:
            codes += quotient >= threshold
        return self._parts(codes, exponent.squeeze(-1))

    def _decode_blocks(self, parts: Parts) -> Tensor:
        magnitudes = MAGNITUDES.to(parts.codes.device)[(parts.codes & (SIGN - 1)).int()]
        return torch.where((parts.codes & SIGN) != 0, -magnitudes, magnitudes) * parts.scales.unsqueeze(-1)

    def _patterns(self, encoded: Encoded) -> dict[str, Tensor]:
        return {"code": encoded.codes, "exponent": encoded.metadata["exponent"]}

    def _from_patterns(self, stored: dict[str, Tensor]) -> Parts:
        return self._parts(stored["code"].to(torch.uint8), stored["exponent"].to(torch.int32) - E8M0_BIAS)

    @staticmethod
    def _parts(codes: Tensor, exponent: Tensor) -> Parts:
        return Parts(codes, power_of_two(exponent), {"exponent": exponent + E8M0_BIAS})


def parse(name: str) -> LogarithmicFormat | None:
    """The format of a name, or None if the name is not of this family."""
    if name == "lns4":
        return LogarithmicFormat()
    size = name.removeprefix("lns4-b")
    return LogarithmicFormat(int(size)) if size != name and size.isdecimal() else None


register_format(
    "lns4 | lns4-bN",
    "logarithmic: sign and seven magnitudes half an octave apart, blocks of 32 (or N) with a power-of-two scale",
    parse,
    ["lns4", "lns4-b16"],
)
