"""Processing elements alone: every weight code against random activations, in any order of clock enables."""

import random
from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from mxhw.arithmetic import bitmod_widths, dialect_widths, weight_type_named, weight_types
from mxhw.errors import InputError
from mxhw.rtl_templates.mac import BitSerialPE, DialectPE, IntegerMac


def simulate(component, bench):
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


async def tick(ctx, pe, rng):
    """One cycle that advances, after a random number of cycles that do not."""
    while rng.random() < 0.2:
        ctx.set(pe.advance, 0)
        await ctx.tick()
    ctx.set(pe.advance, 1)
    await ctx.tick()


def term_bits(term):
    return {"sign": term.sign, "exponent": term.exponent, "mantissa": term.mantissa}


@pytest.mark.parametrize("name", [name for name, kind in weight_types().items() if not kind.selector_significances])
def test_every_code_times_random_activations_is_exact(name):
    kind, rng = weight_type_named(name), random.Random(name)
    selectors = range(max(1, len(kind.special_values)))
    codes = [
        (c, s) for s in selectors for c in range(1 << kind.code_bits) if kind.magnitudes or c != 1 << kind.code_bits - 1
    ]
    codes += [(0, 0)] * (-len(codes) % 4)
    rng.shuffle(codes)
    pe = BitSerialPE(weight_type=kind, widths=bitmod_widths(name, len(codes)), scaled=False)
    check_codes(pe, kind, codes, rng)


def test_significances_of_another_type_are_noticed():
    pe = BitSerialPE(weight_type=weight_type_named("fp3"), widths=bitmod_widths("fp4", 16), scaled=False)
    with pytest.raises(AssertionError):
        check_codes(pe, weight_type_named("fp4"), [(code, 0) for code in range(16)], random.Random(0))


def check_codes(pe, kind, codes, rng):
    """Every code times an activation, four at a time; the sum after each step of the last term."""

    async def bench(ctx):
        expected = 0
        ctx.set(pe.enable, 1)
        for start in range(0, len(codes), 4):
            x = [rng.choice((-127, 127, rng.randint(-127, 127))) for _ in range(4)]
            ctx.set(pe.x, x)
            chunk = codes[start : start + 4]
            for step in range(len(kind.significances)):
                ctx.set(pe.terms, [term_bits(kind.term(c, step, s)) for c, s in chunk])
                ctx.set(pe.step, step)
                ctx.set(pe.first, start == 0 and step == 0)
                await tick(ctx, pe, rng)
            expected += sum(a * kind.value(c, s) for a, (c, s) in zip(x, chunk, strict=True))
            assert ctx.get(pe.result) == expected

    simulate(pe, bench)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_serial_scale_is_exact_at_the_extremes_and_needs_every_bit(sign):
    kind, widths = weight_type_named("fp4"), bitmod_widths("fp4", 256, 128)
    check_scale(BitSerialPE(weight_type=kind, widths=widths), sign)
    for name in ("group_sum", "accumulator"):
        narrow = replace(widths, **{name: getattr(widths, name) - 1})
        with pytest.raises(AssertionError):
            check_scale(BitSerialPE(weight_type=kind, widths=narrow), sign)


def check_scale(pe, sign):
    """Groups of the largest magnitudes, scaled by the largest multipliers and by others."""
    kind, rng = weight_type_named("fp4"), random.Random(sign)
    multipliers = (255, 254, 255, 1, 0, 129)

    async def bench(ctx):
        ctx.set(pe.x, [127 * sign] * 4)
        total, previous = 0, None
        for multiplier in (*multipliers, None):
            if multiplier is not None:
                for cycle in range(64):
                    ctx.set(pe.terms, [term_bits(kind.term(kind.special_code, cycle % 2, 2))] * 4)
                    ctx.set(pe.step, cycle % 2)
                    ctx.set(pe.enable, 1)
                    ctx.set(pe.first, cycle == 0)
                    await tick(ctx, pe, rng)
                ctx.set(pe.enable, 0)
            if multiplier is None:
                return
            ctx.set(pe.control, {"load": 1, "first": 0, "active": 0, "fold": 0, "start": 0})
            await tick(ctx, pe, rng)
            for bit in range(8):
                ctx.set(pe.control, {"load": 0, "first": bit == 0, "active": 1, "fold": 0, "start": 0})
                ctx.set(pe.scale_bit, multiplier >> (7 - bit) & 1)
                await tick(ctx, pe, rng)
            restart = previous in (None, 254)
            ctx.set(pe.control, {"load": 0, "first": 0, "active": 0, "fold": 1, "start": restart})
            total = (0 if restart else total) + sign * 127 * 16 * 128 * multiplier
            assert ctx.get(pe.result) == total
            await tick(ctx, pe, rng)
            ctx.set(pe.control, {"load": 0, "first": 0, "active": 0, "fold": 0, "start": 0})
            previous = multiplier

    simulate(pe, bench)


@pytest.mark.parametrize("sign", [0, 1])
def test_dialect_blocks_of_the_largest_magnitudes_do_not_overflow_and_need_every_bit(sign):
    widths = dialect_widths(64, 32, (0, 31))
    check_blocks(DialectPE(widths=widths), sign)
    for name in ("block_sum", "accumulator"):
        with pytest.raises(AssertionError):
            check_blocks(DialectPE(widths=replace(widths, **{name: getattr(widths, name) - 1})), sign)


def check_blocks(pe, sign):
    """Two blocks of the largest products at the largest exponents."""
    rng = random.Random(sign)

    async def bench(ctx):
        ctx.set(pe.x, [{"magnitude": 15, "sign": sign}] * 4)
        ctx.set(pe.w, [{"magnitude": 15, "sign": 0}] * 4)
        ctx.set(pe.x_exponent, 31)
        ctx.set(pe.w_exponent, 31)
        for block in range(2):
            ctx.set(pe.fold, 0)
            ctx.set(pe.enable, 1)
            for cycle in range(8):
                ctx.set(pe.first, cycle == 0)
                await tick(ctx, pe, rng)
            ctx.set(pe.enable, 0)
            ctx.set(pe.fold, 1)
            ctx.set(pe.start, block == 0)
            assert ctx.get(pe.result) == (-1) ** sign * 7200 * (block + 1) << 62
            await tick(ctx, pe, rng)

    simulate(pe, bench)


def test_every_product_of_two_dialect_operands_is_exact():
    pe, rng = DialectPE(widths=dialect_widths(32, 32, (0, 0)), lanes=1), random.Random(0)

    async def bench(ctx):
        ctx.set(pe.enable, 1)
        ctx.set(pe.first, 1)
        for a in range(-15, 16):
            for b in range(-15, 16):
                ctx.set(pe.x, [{"magnitude": abs(a), "sign": a < 0}])
                ctx.set(pe.w, [{"magnitude": abs(b), "sign": b < 0}])
                ctx.set(pe.start, 1)
                await tick(ctx, pe, rng)
                assert ctx.get(pe.result) == a * b

    simulate(pe, bench)


def test_the_reference_mac_accumulates():
    mac, rng = IntegerMac(accumulator=24), random.Random(0)

    async def bench(ctx):
        expected = 0
        ctx.set(mac.enable, 1)
        for i in range(200):
            x, w = rng.randint(-128, 127), rng.randint(-128, 127)
            ctx.set(mac.x, x)
            ctx.set(mac.w, w)
            ctx.set(mac.first, i % 50 == 0)
            await ctx.tick()
            expected = (0 if i % 50 == 0 else expected) + x * w
            assert ctx.get(mac.result) == expected

    simulate(mac, bench)


def test_impossible_arguments_are_refused():
    with pytest.raises(InputError, match="accumulator must be an integer of at least 16, not 15"):
        IntegerMac(width=8, accumulator=15)
    with pytest.raises(InputError, match="lanes must be an integer of at least 1, not 0"):
        DialectPE(widths=dialect_widths(32, 32, (0, 0)), lanes=0)
