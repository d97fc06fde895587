"""MACs of all block formats and of integers: every block sum equals the arithmetic, over drawn and extreme operands."""

import numpy as np
import pytest
import torch
from amaranth.hdl import Signal

from mxhw.arithmetic import accumulate, block_element, block_elements, block_sums, block_widths, integer_sum_bits
from mxhw.errors import InputError
from mxhw.rtl_templates.mac import BlockMac, BlockPE, IntegerMac
from mxhw.sim.beats import to_ints
from tests.rtl_templates.bank import Bench, beats
from tests.rtl_templates.macs import drawn_blocks, stalled

COUNT = 200
MACS = {name.replace("-", "_"): (name, 1, 32, "edge") for name in block_elements() if not name.startswith("int")}
MACS |= {
    "dialect_inside": ("dialect4", 1, 32, "inside"),
    "dialect_lanes": ("dialect4", 4, 64, "edge"),
    "mxfp4_inside": ("mxfp4", 2, 16, "inside"),
    "e4m3_inside": ("mxfp8-e4m3", 2, 32, "inside"),
    "mxint8_lanes": ("mxint8", 4, 32, "edge"),
}
WINDOWS = (3, 18), (7, 11)
PES = {"dialect4": ("dialect4", 4), "mxfp4": ("mxfp4", 1), "e2m3": ("mxfp6-e2m3", 2), "e3m2": ("mxfp6-e3m2", 4)}
PES |= {"e4m3": ("mxfp8-e4m3", 2), "e5m2": ("mxfp8-e5m2", 1), "mxint8": ("mxint8", 4), "int4": ("int4", 8)}


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def mac_stimulus(name, lanes, block, decode, seed):
    """Port values of one MAC and, per block, the cycle in which its sum is out, and the sum."""
    rng = np.random.default_rng(seed)
    x, w = (drawn_blocks(name, COUNT, block, rng) for _ in range(2))
    w.codes[:2], w.dialect[:2] = x.codes[0], x.dialect[0]
    kind, rows = x.element, {}
    chunks = block // lanes
    for side, blocks in (("x", x), ("w", w)):
        bits = kind.code_bits if decode == "inside" or kind.kind == "integer" else None
        bits = bits or kind.significand_bits + kind.shift_bits + 1
        values = blocks.codes if decode == "inside" else blocks.operands()
        rows[side] = beats(values, bits, lanes)
        if decode == "inside" and kind.selector_bits:
            rows[f"{side}_dialect"] = np.repeat(blocks.dialect, chunks).tolist()
    rows["first"] = [int(i % chunks == 0) for i in range(COUNT * chunks)]
    rows["enable"] = [1] * (COUNT * chunks)
    ports, place = stalled(rows, rng, "enable")
    return ports, place[chunks - 1 :: chunks] + 1, block_sums(x.decoded(), w.decoded()).objects()


class OneWrongSign(BlockMac):
    """A MAC that takes the product of minus zero and x for x itself: the planted fault."""

    def _operand(self, m, side, lane):
        operand = super()._operand(m, side, lane)
        if side == "x":
            return operand
        wrong = Signal.like(operand)
        m.d.comb += [
            wrong.eq(operand),
            wrong.magnitude.eq(operand.magnitude | (operand.sign & ~operand.magnitude.any())),
        ]
        return wrong


def test_every_block_sum_of_every_format_is_that_of_the_arithmetic():
    units = {
        unit: BlockMac(element=name, lanes=lanes, block=block, decode=decode)
        for unit, (name, lanes, block, decode) in MACS.items()
    }
    cases = {unit: mac_stimulus(*parameters, seed) for seed, (unit, parameters) in enumerate(MACS.items())}
    units["faulty"], cases["faulty"] = OneWrongSign(element="dialect4"), cases["dialect4"]
    found = Bench(units).trace({unit: case[0] for unit, case in cases.items()})
    _, cycles, expected = cases.pop("faulty")
    wrong = [int(found["faulty"]["result"][cycle]) != value for cycle, value in zip(cycles, expected, strict=True)]
    assert wrong[:2] == [False, False] and any(wrong)
    for unit, (_, cycles, expected) in cases.items():
        bits = len(units[unit].result)
        results = [signed(v, bits) for v in to_ints(found[unit]["result"])]
        assert [results[cycle] for cycle in cycles] == expected.tolist(), unit
        largest = block_element(MACS[unit][0]).largest ** 2 * MACS[unit][2]
        assert abs(results[cycles[0]]) == abs(results[cycles[1]]) == largest, unit
        # The control of the width: these sums do not fit one bit less.
        assert largest.bit_length() == bits - 1, unit


def pe_stimulus(name, lanes, block, seed):
    """Port values of one PE, and per block the cycle of its fold and the accumulator's next value."""
    rng = np.random.default_rng(seed)
    x, w = (drawn_blocks(name, COUNT, block, rng) for _ in range(2))
    w.codes[:2], w.dialect[:2] = x.codes[0], x.dialect[0]
    exponents = [rng.integers(low, high + 1, COUNT) for low, high in WINDOWS]
    exponents[0][:2], exponents[1][:2] = WINDOWS[0][1], WINDOWS[1][1]
    kind, chunks = x.element, block // lanes
    bits = kind.code_bits if kind.kind == "integer" else kind.significand_bits + kind.shift_bits + 1
    steps = COUNT * chunks
    starts = rng.random(COUNT) < 0.3
    starts[:2] = True
    rows = {side: [*beats(b.operands(), bits, lanes), 0] for side, b in (("x", x), ("w", w))}
    rows |= {"advance": [1] * (steps + 1), "enable": [1] * steps + [0]}
    rows["first"] = [int(i % chunks == 0) for i in range(steps + 1)]
    # A block is folded one cycle after its last products, beside the first ones of the next block.
    rows["fold"] = [int(i > 0 and i % chunks == 0) for i in range(steps + 1)]
    folded = [max(0, i // chunks - 1) for i in range(steps + 1)]
    rows["start"] = [int(starts[b]) for b in folded]
    for side, values, window in zip("xw", exponents, WINDOWS, strict=True):
        rows[f"{side}_exponent"] = [int(values[b]) - window[0] for b in folded]
    ports, place = stalled(rows, rng, "advance")
    sums = block_sums(x.decoded(), w.decoded())
    expected, begin = [], 0
    for b in range(COUNT):
        begin = b if starts[b] else begin
        part = type(sums)(sums.high[begin : b + 1], sums.low[begin : b + 1])
        chosen = [torch.tensor(values[begin : b + 1]) for values in exponents]
        expected.append(int(accumulate(part, *chosen, *WINDOWS).objects()))
    return ports, place[chunks::chunks], expected


def test_every_fold_of_every_pe_is_that_of_the_arithmetic():
    # Sums that grow to the bound of K, and blocks of the largest operands with the largest exponents.
    units, cases = {}, {}
    for seed, (unit, (name, lanes)) in enumerate(PES.items()):
        widths = block_widths(name, COUNT * 16, 16, *WINDOWS)
        units[unit] = BlockPE(element=name, widths=widths, lanes=lanes)
        cases[unit] = pe_stimulus(name, lanes, 16, seed)
    found = Bench(units).trace({unit: case[0] for unit, case in cases.items()})
    for unit, (_, cycles, expected) in cases.items():
        bits = len(units[unit].result)
        results = [signed(v, bits) for v in to_ints(found[unit]["result"])]
        assert [results[cycle] for cycle in cycles] == expected, unit
        # The control of the bench: a fold read one cycle late is another number.
        assert [results[cycle + 1] for cycle in cycles] != expected, unit


def test_integer_macs_hold_every_sum_of_symmetric_codes():
    rng, units, cases = np.random.default_rng(0), {}, {}
    for width, w_width, lanes, k in ((8, 8, 1, 520), (4, 4, 1, 64), (8, 4, 4, 256), (2, 2, 2, 64)):
        unit = f"int{width}x{w_width}_{lanes}"
        units[unit] = IntegerMac(width=width, w_width=w_width, lanes=lanes, k=k, accumulator=None)
        largest = (1 << width - 1) - 1, (1 << w_width - 1) - 1
        x, w = (rng.integers(-top, top + 1, (20, k)) for top in largest)
        x[0], x[1], w[:2] = largest[0], -largest[0], largest[1]
        rows = {
            "x": beats(x, width, lanes),
            "w": beats(w, w_width, lanes),
            "first": [int(i % (k // lanes) == 0) for i in range(20 * k // lanes)],
            "enable": [1] * (20 * k // lanes),
        }
        if lanes == 1:
            rows["x"], rows["w"] = (v.reshape(-1).tolist() for v in (x, w))
        ports, place = stalled(rows, rng, "enable")
        cases[unit] = ports, place[k // lanes - 1 :: k // lanes] + 1, (x * w).sum(1)
    found = Bench(units).trace({unit: case[0] for unit, case in cases.items()})
    for unit, (_, cycles, expected) in cases.items():
        results = to_ints(found[unit]["result"])
        assert [results[cycle] for cycle in cycles] == expected.tolist(), unit
    assert len(units["int8x8_1"].result) == 24 == integer_sum_bits(8, 8, 520)


def test_impossible_arguments_are_refused():
    with pytest.raises(InputError, match="accumulator must be an integer of at least 14 bits, its exact bound, not 13"):
        BlockMac(element="dialect4", accumulator=13)
    with pytest.raises(InputError, match="decode must be one of edge, inside, not 'outside'"):
        BlockMac(element="dialect4", decode="outside")
    with pytest.raises(InputError, match="accumulator must be an integer of at least 25 bits, its exact bound, not 24"):
        IntegerMac(accumulator=24, k=521)
    with pytest.raises(InputError, match=r"lanes must be an integer of at least 1, not 0"):
        BlockMac(element="mxfp4", lanes=0)
