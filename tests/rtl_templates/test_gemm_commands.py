"""Commands: a unit runs what the software allows and nothing beyond its limits; impossible units are refused."""

import numpy as np
import pytest

from mxhw.arithmetic import RUNTIME_TYPES
from mxhw.errors import InputError
from mxhw.formats import parse_format
from mxhw.rtl_templates import StreamedBitModGemm, StreamedBlockGemm
from mxhw.rtl_templates.gemm import Command, CommandLimits
from mxhw.rtl_templates.gemm.beats import Operand, block_operands, make_job
from mxhw.sim.library import StreamError
from tests.rtl_templates.gemm_streams import bitmod_product, bitmod_unit, block_unit, draw, library, run_beats

UNIT = bitmod_unit()
LIMITS = UNIT.limits
BAD = [
    ("chunks of a group must be 4 to 32, not 33", Command(chunks=33, groups=1, weight_type=4)),
    ("chunks of a group must be 4 to 32, not 3", Command(chunks=3, groups=1, weight_type=4)),
    ("chunks of a group must be 8 to 32, not 7", Command(chunks=7, groups=1, weight_type=6)),
    ("chunks of a group must be 2 to 32, not 0", Command(chunks=0, groups=1)),
    ("groups must be 1 to 4, not 5", Command(chunks=32, groups=5)),
    ("groups must be 1 to 18, not 19", Command(chunks=7, groups=19)),
    ("groups must be 1 to 4, not 0", Command(chunks=32, groups=0)),
    ("tiles must be 1 to 65535, not 0", Command(chunks=32, groups=1, tiles=0)),
    ("weight_type must be one of .*, not 7", Command(chunks=32, groups=1, weight_type=7)),
]


def raw(command: Command) -> int:
    """The payload of a command, unchecked."""
    fields = {name: getattr(command, name) for name, _ in LIMITS.layout}
    return LIMITS.layout.const(fields).as_value().value


def refused(beats: list[int], **others: int) -> np.ndarray:
    """Whether the unit has refused, cycle by cycle, while it gets one payload after the other."""
    idle = {f"{name}__valid": 0 for name in ("x", "w", "w_scale")} | {f"{n}__payload": 0 for n in ("x", "w", "w_scale")}
    cycles = 3 * len(beats)
    inputs = idle | others | {"y__ready": 1}
    inputs |= {"command__valid": np.repeat(1, cycles), "command__payload": np.repeat(beats, 3)}
    return library(UNIT).trace(inputs, fresh=False)["refused"]


def is_legal(command: Command) -> bool:
    try:
        LIMITS.check(command)
    except InputError:
        return False
    return True


@pytest.mark.parametrize(("message", "command"), BAD)
def test_a_command_beyond_the_limits_is_refused_by_software_and_by_hardware(message, command):
    with pytest.raises(InputError, match=message):
        LIMITS.beat(command)
    assert list(refused([raw(command)])) == [0, 1, 1]


def test_software_and_hardware_agree_on_drawn_commands_around_the_limits():
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(300):
        command = Command(
            chunks=int(rng.choice([0, 1, 2, 3, 4, 7, 8, 16, 31, 32, 33, 63])),
            groups=int(rng.choice([0, 1, 2, 4, 5, 8, 9, 16, 18, 32, 43, 64, 65, 127, 128])),
            tiles=int(rng.choice([0, 1, 65535], p=[0.1, 0.4, 0.5])),
            weight_type=int(rng.integers(8)),
            mapping=int(rng.integers(2)),
        )
        verdicts.append(is_legal(command))
        assert bool(refused([raw(command)])[-1]) != verdicts[-1], command
    assert 40 < sum(verdicts) < 260


def test_commands_before_a_refused_one_finish_and_those_after_it_do_not_run():
    product = bitmod_product("bitmod4", 3, 128, 4)
    beats, tiles = product.job.beats, product.job.tiles
    twice = {name: words * 2 for name, words in beats.items()}
    assert len(run_beats(UNIT, twice, 2 * tiles).ints("y")) == 2 * tiles * UNIT.rows
    twice["command"] = [*beats["command"], raw(Command(chunks=33, groups=1)), *beats["command"]]
    rows = tiles * UNIT.rows
    with pytest.raises(StreamError, match="deadlock") as stopped:
        run_beats(UNIT, twice, 2 * tiles)
    for passed in ("2 of 3 command beats accepted", f"{rows} of {2 * rows} y beats received"):
        assert passed in str(stopped.value)


def test_an_exponent_beyond_its_window_raises_a_flag_that_stays():
    unit = block_unit("dialect4")
    command = unit.limits.beat(Command(chunks=1, groups=1, tiles=8))
    always = {f"{n}__valid": 1 for n in ("command", "x", "w", "x_scale", "w_scale")}
    payloads = {"command__payload": command, "x__payload": 0, "w__payload": 0, "x_scale__payload": 0, "y__ready": 1}
    columns, bits = unit.vectors("w"), unit.bits.w_scale
    for exponent, expected in ((12, 0), (13, 1), (15, 1)):
        for column in (0, columns - 1):
            # In mapping "gemm" the columns of the other rows of PEs are ignored.
            scales = np.array([exponent << unit.element.selector_bits + column * bits] + [0] * 39, dtype=object)
            scales[1:3] = scales[0]
            found = library(unit).trace(always | payloads | {"w_scale__payload": scales}, fresh=False)["outside"]
            assert found[-1] == (expected if column < unit.columns else 0)


def test_operands_that_do_not_fit_are_refused_with_their_numbers():
    unit, fmt = block_unit("mxfp8-e4m3"), parse_format("mxfp8-e4m3")
    x, w = fmt.encode(draw((2, 64), 0)), fmt.encode(draw((3, 64), 1) * 2.0**40)
    with pytest.raises(InputError, match=r"stored exponents of w must be in the unit's window 110\.\.131, not 1\d\d"):
        block_operands(unit, fmt, x, w)
    with pytest.raises(InputError, match="the format must be one with elements mxfp8-e4m3, not 'mxfp4'"):
        block_operands(unit, parse_format("mxfp4"), x, w)
    with pytest.raises(InputError, match="a block must be a multiple of the unit's 4 lanes, not 10"):
        narrow = parse_format("mxfp8-e4m3-b10")
        block_operands(unit, narrow, narrow.encode(draw((2, 20), 0)), narrow.encode(draw((2, 20), 0)))
    ones = Operand(np.ones((1, 64), np.int64), 8, np.zeros((1, 2), np.int64))
    with pytest.raises(InputError, match="mapping must be 'gemm' for a unit made without gemv, not 'gemv'"):
        make_job(unit, ones, ones, "gemv")
    with pytest.raises(InputError, match="x and w must be of equally many groups of one length"):
        make_job(unit, ones, Operand(ones.codes, 4, ones.scales))
    long = Operand(np.ones((1, 512), np.int64), 8, np.zeros((1, 16), np.int64))
    with pytest.raises(InputError, match="groups must be 1 to 8, not 16"):
        make_job(unit, long, long)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("lanes must be an integer of at least 1, not 0", {"lanes": 0}),
        ("rows must be an integer of at least 1, not 0", {"rows": 0}),
        ("lanes must be a divisor of the group of 128, not 3", {"lanes": 3}),
        ("k must be at least the group of 128, not 64", {"k": 64}),
        (r"cycles of a group must be at least the 8 bits .*group 16, 4 lanes, 1 terms\), not 4", {"group": 16}),
        ("accumulator must be an integer of at least 35 bits, its exact bound, not 34", {"accumulator": 34}),
        ("types must be some of int8, .*, not \\('int7',\\)", {"types": ("int7",)}),
        ("tiles must be an integer of at least 1, not 0", {"tiles": 0}),
        ("gemv must be True or False, not 2", {"gemv": 2}),
    ],
)
def test_impossible_bit_serial_units_are_refused_with_their_numbers(message, arguments):
    with pytest.raises(InputError, match=message):
        StreamedBitModGemm(**{"rows": 2, "columns": 2} | arguments)


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("lanes must be an integer of at least 1, not 0", {"lanes": 0}),
        ("lanes must be a divisor of the block of 32, not 3", {"lanes": 3}),
        ("element must be one of dialect4, .*, not 'mxfp5'; did you mean", {"element": "mxfp5"}),
        (r"w_exponents must be \(low, high\) with 0 <= low <= high <= 31, not \(9, 8\)", {"w_exponents": (9, 8)}),
        ("accumulator must be an integer of at least 83 bits, its exact bound, not 82", {"accumulator": 82}),
        ("k must be at least the block of 32, not 16", {"k": 16}),
    ],
)
def test_impossible_block_units_are_refused_with_their_numbers(message, arguments):
    with pytest.raises(InputError, match=message):
        StreamedBlockGemm(**{"element": "dialect4", "rows": 2, "columns": 2} | arguments)


def test_a_wider_accumulator_and_fewer_types_can_be_asked_for():
    assert StreamedBitModGemm(rows=2, columns=2, accumulator=48).accumulator_width == 48
    only = StreamedBitModGemm(rows=2, columns=2, types=("fp4",))
    assert only.accumulator_width < StreamedBitModGemm(rows=2, columns=2).accumulator_width
    with pytest.raises(InputError, match=r"weight_type must be one of \[4\], not 0"):
        only.limits.check(Command(chunks=32, groups=1))
    assert only.limits.steps[RUNTIME_TYPES.index("fp4")] == 2


def test_cycles_of_a_tile_follow_from_the_terms_of_the_type():
    unit = StreamedBitModGemm(rows=8, columns=8)
    cycles = {
        name: unit.tile_cycles(Command(chunks=32, groups=4, weight_type=number))
        for number, name in enumerate(RUNTIME_TYPES)
    }
    assert cycles == {name: 128 * terms for name, terms in zip(RUNTIME_TYPES, (4, 3, 3, 2, 2, 2, 1), strict=True)}
    assert unit.cycles([]) == 0
    with pytest.raises(InputError, match="group_chunks must be an integer of at least 1, not 0"):
        CommandLimits(group_chunks=0, tile_chunks=4, tiles=1)
