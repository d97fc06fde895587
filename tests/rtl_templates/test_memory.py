"""Memories and streams: words come back, halves alternate, a read beside a write returns the old word."""

import random

import pytest
from amaranth.sim import Simulator

from mxhw.errors import InputError
from mxhw.rtl_templates.gemm.drain import Drain
from mxhw.rtl_templates.memory import ActivationBuffer, Ram, Rom


def simulate(component, bench):
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def test_a_rom_reads_its_words_and_holds_them():
    rom = Rom(width=9, depth=5, file="words.hex", init=[5, 4, 3, 511, 1])

    async def bench(ctx):
        for address, word in enumerate([5, 4, 3, 511, 1]):
            ctx.set(rom.address, address)
            ctx.set(rom.enable, 1)
            await ctx.tick()
            ctx.set(rom.enable, 0)
            ctx.set(rom.address, 0)
            await ctx.tick()
            assert ctx.get(rom.data) == word

    simulate(rom, bench)


def test_a_ram_read_beside_a_write_returns_the_old_word():
    ram = Ram(width=8, depth=4)

    async def bench(ctx):
        ctx.set(ram.write, 1)
        ctx.set(ram.enable, 1)
        ctx.set(ram.address, 2)
        ctx.set(ram.write_address, 2)
        ctx.set(ram.write_data, 7)
        await ctx.tick()
        ctx.set(ram.write_data, 9)
        await ctx.tick()
        assert ctx.get(ram.data) == 7
        ctx.set(ram.write, 0)
        await ctx.tick()
        assert ctx.get(ram.data) == 9

    simulate(ram, bench)


@pytest.mark.parametrize("chunks", [1, 3, 4])
def test_the_buffer_replays_a_tile_while_the_next_arrives(chunks):
    found, expected, left = replayed(chunks)
    assert found == expected and not left and len(found) >= 5 * 2 * chunks


@pytest.mark.parametrize("fault", ["half", "chunk", "release"])
def test_another_half_or_chunk_and_an_early_release_are_noticed(fault):
    found, expected, _ = replayed(3, fault)
    assert found != expected


def replayed(chunks, fault=""):
    """Data of every cycle in which 5 tiles are read twice under random pauses, what it should be, and unread words.

    ``fault`` is one of the reader.
    """
    buffer, rng = ActivationBuffer(width=8, chunks=chunks), random.Random(chunks)
    found, expected = [], []
    tiles = [[rng.randrange(256) for _ in range(chunks)] for _ in range(5)]

    reads = [(tile, chunk, replay) for tile in range(5) for replay in range(2) for chunk in range(chunks)]
    words = [word for tile in tiles for word in tile]

    async def bench(ctx):
        sent, wanted = 0, None
        for _ in range(1000):
            if not reads and wanted is None:
                break
            offering = sent < len(words) and rng.random() < 0.7
            ctx.set(buffer.x.valid, offering)
            ctx.set(buffer.x.payload, words[sent] if offering else rng.randrange(256))
            full = ctx.get(buffer.full)
            reading = bool(reads) and full >> reads[0][0] % 2 & 1 and rng.random() < 0.7
            ctx.set(buffer.enable, reading)
            tile, chunk, replay = reads[0] if reading else (rng.randrange(2), rng.randrange(chunks), 0)
            ctx.set(buffer.half, (tile + (fault == "half")) % 2)
            ctx.set(buffer.chunk, (chunk + (fault == "chunk")) % chunks)
            ctx.set(buffer.release, reading and replay == (fault != "release") and chunk == chunks - 1)
            if wanted is not None:
                found.append(ctx.get(buffer.data))
                expected.append(wanted)
            sent += offering and ctx.get(buffer.x.ready)
            if reading:
                wanted = tiles[tile][chunk]
                reads.pop(0)
            elif not reads:
                wanted = None
            await ctx.tick()

    simulate(buffer, bench)
    return found, expected, reads


def test_the_drain_sends_rows_in_order_and_is_busy_until_the_last_has_left():
    drain = Drain(rows=3, columns=2, width=5)

    async def bench(ctx):
        assert ctx.get(drain.free) and not ctx.get(drain.y.valid)
        ctx.set(drain.results, [1, -1, 2, -2, 3, -3])
        ctx.set(drain.capture, 1)
        await ctx.tick()
        ctx.set(drain.capture, 0)
        ctx.set(drain.results, [0] * 6)
        await ctx.tick().repeat(3)
        for value in (1, 2, 3):
            assert ctx.get(drain.y.valid) and not ctx.get(drain.free)
            assert ctx.get(drain.y.payload) == (32 - value) << 5 | value
            ctx.set(drain.y.ready, 1)
            await ctx.tick()
            ctx.set(drain.y.ready, 0)
        assert ctx.get(drain.free) and not ctx.get(drain.y.valid)

    simulate(drain, bench)


def test_words_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="init must be words of 4 bits, not '0x10'"):
        Rom(width=4, depth=2, file="w.hex", init=[16])
    with pytest.raises(InputError, match="depth must be an integer of at least 1, not 0"):
        Ram(width=4, depth=0)
