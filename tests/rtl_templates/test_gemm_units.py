"""The GEMM units equal the integer reference bit for bit, under any stalls, in exactly the predicted cycles."""

import pytest

from mxhw.errors import InputError
from mxhw.rtl_templates import BitModGemm, DialectGemm, GemmShape
from tests.rtl_templates.gemm_units import bitmod_case, dialect_case, run
from tests.rtl_templates.stream.test_buffers import ReceiversSeeRubbish, WaitsForReady

SMALL = GemmShape(rows=2, columns=2, n=3, k=200)
BITMOD = [
    ("fp4", 128),
    ("fp3", 128),
    ("int8", None),
    ("int6", 128),
    ("fp4", 32),
    ("fp3", 16),
    ("int4", 64),
    ("int5", None),
    ("int3", None),
]


def slowly(*values):
    """A case for the long run."""
    return pytest.param(*values, marks=pytest.mark.slow)


# Quick: the first four without stalls, the others with some.
@pytest.mark.parametrize(
    ("weight_type", "group", "stall", "seed"),
    [
        *((*kind, 0.0, 0) for kind in BITMOD[:4]),
        *((*kind, 0.5, 1) for kind in BITMOD[4:]),
        *(slowly(*kind, 0.5, 1) for kind in BITMOD[:4]),
        *(slowly(*kind, 0.0, 0) for kind in BITMOD[4:]),
    ],
)
def test_bitmod_outputs_equal_the_reference(weight_type, group, stall, seed):
    case = bitmod_case(SMALL, weight_type, group, tokens=3, seed=seed)
    result = run(case.unit, case.x, len(case.y), stall, seed)
    assert result.beats == case.y
    assert (case.unit.output_accumulators(result.beats, case.tokens) == case.accumulators).all()
    if not stall:
        assert result.cycles == case.unit.cycles(case.tokens)


@pytest.mark.parametrize(
    ("exponents", "stall", "seed"),
    [
        ((8, 12), 0.7, 2),
        ((0, 31), 0.0, 0),
        ((0, 31), 0.3, 1),
        *(slowly((8, 12), stall, seed) for stall, seed in ((0.0, 0), (0.3, 1), (0.9, 3))),
        *(slowly((0, 31), stall, seed) for stall, seed in ((0.7, 2), (0.9, 3))),
    ],
)
def test_dialect_outputs_equal_the_reference(stall, seed, exponents):
    case = dialect_case(SMALL, 32, exponents, tokens=5, seed=seed)
    result = run(case.unit, case.x, len(case.y), stall, seed)
    assert result.beats == case.y
    if not stall:
        assert result.cycles == case.unit.cycles(case.tokens)


@pytest.mark.parametrize("weight_type", ["fp4", "int8"])
def test_sums_of_the_largest_magnitudes_do_not_overflow(weight_type):
    case = bitmod_case(GemmShape(rows=2, columns=1, n=1, k=256), weight_type, 128, tokens=2, seed=0, extreme=True)
    result = run(case.unit, case.x, len(case.y))
    assert result.beats == case.y
    assert abs(case.accumulators).max() >= 1 << case.unit.accumulator_width - 2


SHAPES = [
    (GemmShape(rows=1, columns=1, n=1, k=128), 2),
    (GemmShape(rows=7, columns=1, n=2, k=32, lanes=32), 8),
    (GemmShape(rows=2, columns=2, n=2, k=64, lanes=8), 11),
    (GemmShape(rows=1, columns=2, n=2, k=64, lanes=32), 9),
    slowly(GemmShape(rows=3, columns=2, n=5, k=64, lanes=16), 7),
    slowly(GemmShape(rows=7, columns=1, n=2, k=32, lanes=32), 15),
    slowly(GemmShape(rows=1, columns=3, n=2, k=32, lanes=32), 6),
    slowly(GemmShape(rows=4, columns=2, n=3, k=96, lanes=16), 1),
]


@pytest.mark.parametrize(("shape", "tokens"), SHAPES)
def test_cycles_are_exact_where_computing_loading_or_draining_is_the_limit(shape, tokens):
    case = dialect_case(shape, 32, (8, 12), tokens, seed=0)
    result = run(case.unit, case.x, len(case.y))
    assert (result.beats, result.cycles) == (case.y, case.unit.cycles(tokens))


@pytest.mark.parametrize("tokens", [4, slowly(1), slowly(9)])
def test_cycles_are_exact_where_the_scale_takes_a_whole_group(tokens):
    case = bitmod_case(GemmShape(rows=2, columns=2, n=3, k=256, lanes=32), "fp3", 128, tokens, seed=0)
    assert case.unit.tiling.group_chunks * case.unit.terms == 8
    result = run(case.unit, case.x, len(case.y))
    assert (result.beats, result.cycles) == (case.y, case.unit.cycles(tokens))


@pytest.mark.parametrize("cycles", [60, 171, *map(slowly, (1, 161, 333))])
def test_a_reset_at_any_time_leaves_nothing_behind(cycles):
    for case in (bitmod_case(SMALL, "fp4", 128, tokens=2, seed=1), dialect_case(SMALL, 32, (8, 12), tokens=3, seed=1)):
        result = run(case.unit, case.x, len(case.y), reset_after=cycles)
        assert (result.beats, result.cycles) == (case.y, case.unit.cycles(case.tokens))


def test_cycles_grow_by_the_steps_of_a_tile():
    unit = BitModGemm(GemmShape(rows=8, columns=8, n=64, k=512), weight_type="fp4")
    assert unit.cycles(0) == 0
    assert unit.cycles(800) - unit.cycles(792) == 8 * 128 * 2


def test_one_flipped_weight_bit_is_caught():
    case = dialect_case(SMALL, 32, (8, 12), tokens=3, seed=5)
    case.weights[4] ^= 1
    unit = case.rebuild(weights=case.weights, metadata=case.metadata)
    assert run(unit, case.x, len(case.y)).beats != case.y


def test_one_flipped_scale_bit_is_caught():
    case = bitmod_case(SMALL, "fp3", 128, tokens=2, seed=5)
    case.metadata[1] ^= 1
    unit = case.rebuild(weights=case.weights, metadata=case.metadata)
    assert run(unit, case.x, len(case.y)).beats != case.y


@pytest.mark.parametrize(
    ("unit", "message"),
    [(ReceiversSeeRubbish(shape=16), "payload changed while valid and not ready"), (WaitsForReady(), "valid fell")],
)
def test_the_bench_catches_a_stream_that_breaks_its_promises(unit, message):
    unit.x_width = 16
    with pytest.raises(AssertionError, match=message):
        run(unit, list(range(60)), 60, stall=0.5, seed=3)


def test_impossible_units_are_refused_with_their_numbers():
    shape = GemmShape(rows=2, columns=2, n=4, k=128)
    with pytest.raises(
        InputError, match=r"cycles of a group must be at least the 8 bits .*group 8, 4 lanes, 2 terms.*not 4"
    ):
        BitModGemm(shape, weight_type="fp4", group=8)
    with pytest.raises(InputError, match="lanes must be a divisor of the group of 130, not 4"):
        BitModGemm(shape, weight_type="fp4", group=130)
    with pytest.raises(InputError, match="group must be a number of weights for fp3, not None"):
        BitModGemm(shape, weight_type="fp3", group=None)
    with pytest.raises(InputError, match="weight type must be one of"):
        BitModGemm(shape, weight_type="fp5")
    with pytest.raises(InputError, match="lanes must be a divisor of the group of 30"):
        DialectGemm(shape, block=30)
    with pytest.raises(InputError, match=r"0 <= low <= high <= 31, not \(5, 40\)"):
        DialectGemm(shape, weight_exponents=(5, 40))
    with pytest.raises(InputError, match="columns must be an integer of at least 1, not 0"):
        GemmShape(rows=2, columns=0, n=4, k=128)
    with pytest.raises(InputError, match="tokens must be an integer of at least 0, not -1"):
        DialectGemm(shape).cycles(-1)
    with pytest.raises(InputError, match=r"codes must have a shape of at most \(4, 128\), not \(5, 128\)"):
        DialectGemm(shape).weight_fields([[0] * 128] * 5)
    with pytest.raises(InputError, match="weights must be at most 64 words, not '65 words'"):
        BitModGemm(shape, weight_type="int8", group=None, weights=[0] * 65)
