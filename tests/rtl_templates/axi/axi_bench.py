"""cocotb tests of an AXI top, with the AXI models of cocotbext-axi. What to send and expect stands in `case.json`.

The models drive the ports; a watch of our own on every clock edge checks the rule of AXI that a valid signal, and what
goes with it, stays until ready.
"""

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

CASE = json.loads(Path("case.json").read_text())
REGISTERS: dict[str, int] = CASE["registers"]
PATIENCE = 4000  # clock cycles
LITE = {"aw": ("addr", "prot"), "w": ("data", "strb"), "b": ("resp",), "ar": ("addr", "prot"), "r": ("data", "resp")}


class Bench:
    """The ports of the design with their models."""

    def __init__(self, dut: Any) -> None:
        self.dut, self.errors = dut, list[str]()
        Clock(dut.aclk, 10, "ns").start()
        self.lite = AxiLiteMaster(
            AxiLiteBus.from_prefix(dut, "s_axi_control"), dut.aclk, dut.aresetn, reset_active_level=False
        )
        common = (dut.aclk, dut.aresetn)
        options = {"reset_active_level": False, "byte_lanes": 1}
        self.sources = {
            name: AxiStreamSource(AxiStreamBus.from_prefix(dut, f"s_axis_{name}"), *common, **options)
            for name in CASE["inputs"]
        }
        self.sinks = {
            name: AxiStreamSink(AxiStreamBus.from_prefix(dut, f"m_axis_{name}"), *common, **options)
            for name in CASE["outputs"]
        }
        channels = [(f"s_axi_control_{channel}", parts) for channel, parts in LITE.items()]
        channels += [(f"m_axis_{name}_t", ("data", "last")) for name in self.sinks]
        for prefix, parts in channels:
            cocotb.start_soon(self.watch(prefix, parts))

    async def start(self) -> None:
        """Reset by aresetn, low for as long as AXI asks (16 cycles)."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 16)
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)

    async def watch(self, prefix: str, parts: tuple[str, ...]) -> None:
        """Note every transfer that is withdrawn or changed while it waits."""
        valid, ready = getattr(self.dut, f"{prefix}valid"), getattr(self.dut, f"{prefix}ready")
        signals = [getattr(self.dut, prefix + part) for part in parts]
        waiting = None
        while True:
            await RisingEdge(self.dut.aclk)
            await ReadOnly()
            if self.dut.aresetn.value == 0:
                waiting = None
                continue
            offered = str([s.value for s in signals]) if valid.value == 1 else None
            if waiting is not None and offered != waiting:
                self.errors.append(f"{prefix}: {'withdrawn' if offered is None else 'changed'} before ready")
            # After the edge, so: this transfer is offered now, and is taken at the next edge if ready stays.
            waiting = offered if ready.value == 0 else None

    def pause(self, probability: float, seed: int) -> None:
        """Let every port pause at random."""
        write, read = self.lite.write_if, self.lite.read_if
        channels = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel]
        for index, port in enumerate([*self.sources.values(), *self.sinks.values(), *channels]):
            draw = random.Random(seed * 100 + index)
            port.set_pause_generator((draw.random() < probability for _ in iter(int, 1)) if probability else None)
            port.pause = False

    async def send(self, first: int, last: int) -> None:
        """Queue tokens; a frame is a token, or some of them: tlast may come at the end of any."""
        for name, source in self.sources.items():
            token, step = first, 1
            while token < last:
                words = [word for t in CASE["inputs"][name][token : min(token + step, last)] for word in t]
                await source.send(AxiStreamFrame(words))
                token, step = token + step, step % 3 + 1

    async def receive(self, first: int, last: int, *, stale: int = 0) -> None:
        """Compare tokens, a frame each; the first frame begins with transfers from before a reset.

        An output whose tokens have no constant length sends every beat as a frame: all of a run are compared.
        """
        for name, sink in self.sinks.items():
            frames = len(CASE["outputs"][name])
            for token in range(first, frames if last == TOKENS else last):
                frame = await cocotb.triggers.with_timeout(sink.recv(), PATIENCE * 10, "ns")
                want = CASE["outputs"][name][token]
                got, stale = list(frame.tdata)[stale:], 0
                assert got == want, f"token {token} of {name}: {got} instead of {want}"

    async def read(self, name: str, offset: int = 0) -> int:
        """Read a register; it must answer OKAY."""
        found = await self.lite.read(REGISTERS[name] + offset, 4)
        assert found.resp == AxiResp.OKAY, f"reading {name} answers {found.resp!r}"
        return int.from_bytes(found.data, "little")

    async def write(self, name: str, value: int) -> None:
        """Write a register; it must answer OKAY."""
        done = await self.lite.write(REGISTERS[name], value.to_bytes(4, "little"))
        assert done.resp == AxiResp.OKAY, f"writing {name} answers {done.resp!r}"

    async def expect(self, **values: int) -> None:
        """Read registers and compare; two underscores stand for the dot of a stream's register."""
        for name, want in values.items():
            found = await self.read(name.replace("__", "."))
            assert found == want, f"{name} is {found:#x}, not {want:#x}"

    def finish(self) -> None:
        """Raise if a rule of AXI was broken."""
        assert not self.errors, self.errors[0]


TOKENS = len(next(iter(CASE["inputs"].values())))


@cocotb.test()
async def streams_are_exact_under_pauses(dut: Any) -> None:
    bench = Bench(dut)
    for probability, seed in CASE["runs"]:
        await bench.start()
        bench.pause(probability, seed)
        receiver = cocotb.start_soon(bench.receive(0, TOKENS))
        await bench.send(0, TOKENS)
        # The registers can be read meanwhile.
        await bench.expect(ID=0x6D786877, VERSION=1, STREAMS=CASE["streams"])
        await receiver
        counts = {name: len(tokens) for kind in ("inputs", "outputs") for name, tokens in CASE[kind].items()}
        await bench.expect(STATUS=0, **{f"{name}__TOKENS": count for name, count in counts.items()})
        low, high = await bench.read("CYCLES_LOW"), await bench.read("CYCLES_HIGH")
        assert low > TOKENS and high == 0
        await bench.expect(CYCLES_LOW=low)  # idle cycles are not counted
        stalls = [await bench.read(f"{name}.STALLS") for name in [*bench.sources, *bench.sinks]]
        assert (stalls[-1] > 0) == (probability > 0)
        assert all(sink.empty() for sink in bench.sinks.values())
    bench.finish()


@cocotb.test()
async def streams_pass_a_transfer_a_cycle(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    receiver = cocotb.start_soon(bench.receive(0, TOKENS))
    await bench.send(0, TOKENS)
    await receiver
    most = max(sum(map(len, tokens)) for kind in ("inputs", "outputs") for tokens in CASE[kind].values())
    cycles = await bench.read("CYCLES_LOW")
    assert most <= cycles <= most + CASE["latency"], f"{cycles} cycles for {most} transfers"


@cocotb.test()
async def identity_and_shapes_are_those_of_the_design(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    await bench.expect(**{name.replace(".", "__"): value for name, value in CASE["constants"].items()})
    bench.finish()


@cocotb.test()
async def writes_come_in_any_order_and_strobes_count(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    write = bench.lite.write_if
    draw, shadow = random.Random(1), bytearray(4)
    for trial in range(24):
        write.aw_channel.pause, write.w_channel.pause = trial % 3 == 1, trial % 3 == 2
        write.b_channel.pause = trial % 4 == 3
        first = draw.randrange(4)
        data = draw.randbytes(draw.randint(1, 4 - first))
        done = cocotb.start_soon(bench.lite.write(REGISTERS["SCRATCH"] + first, data))
        await ClockCycles(dut.aclk, 8)
        assert done.done() == (trial % 3 == 0 and trial % 4 != 3)
        write.aw_channel.pause = write.w_channel.pause = write.b_channel.pause = False
        assert (await done).resp == AxiResp.OKAY
        shadow[first : first + len(data)] = data
        await bench.expect(SCRATCH=int.from_bytes(shadow, "little"))
    # Several writes and reads under way.
    bench.pause(0.4, 5)
    values = [draw.getrandbits(32) for _ in range(12)]
    for value in values:
        await bench.write("SCRATCH", value)
        await bench.expect(SCRATCH=value)
    several = [bench.lite.init_read(REGISTERS["SCRATCH"], 4) for _ in range(6)]
    for event in several:
        await event.wait()
        assert int.from_bytes(event.data.data, "little") == values[-1]
    bench.finish()


@cocotb.test()
async def what_is_not_there_answers_slverr(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    known = set(REGISTERS.values())
    for offset in [*range(0, 0x200, 4), 0xFFC]:
        found = await bench.lite.read(offset, 4)
        assert found.resp == (AxiResp.OKAY if offset in known else AxiResp.SLVERR), hex(offset)
        if offset not in known:
            assert found.data == bytes(4)
    writable = {REGISTERS[name] for name in CASE["writable"]}
    before = await bench.read("ID")
    for offset in [offset for offset in range(0, 0x200, 4) if offset not in writable]:
        assert (await bench.lite.write(offset, b"\xff" * 4)).resp == AxiResp.SLVERR, hex(offset)
    await bench.expect(ID=before, SCRATCH=0, CONTROL=1)
    bench.finish()


@cocotb.test()
async def inputs_wait_while_run_is_0(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    await bench.write("CONTROL", 0)
    await bench.send(0, 2)
    await ClockCycles(dut.aclk, 100)
    first = next(iter(bench.sources))
    await bench.expect(STATUS=0, CONTROL=0, **{f"{name}__TOKENS": 0 for name in bench.sources})
    assert await bench.read(f"{first}.STALLS") > 50
    await bench.write("CONTROL", 1)
    await bench.receive(0, 2)
    bench.finish()


@cocotb.test()
async def soft_reset_forgets_everything_and_breaks_no_rule(dut: Any) -> None:
    bench = Bench(dut)
    await bench.start()
    last = list(bench.sources)[-1]
    for held in (True, False):
        # Tokens are under way and one input is inside a token; where held, outputs offer what nobody takes.
        for sink in bench.sinks.values():
            sink.pause = held
        # And so many are sent that inputs wait too: what they offer is dropped.
        await bench.send(0, 8 if held else 2)
        await bench.sources[last].send(AxiStreamFrame(CASE["inputs"][last][2][:-1]))
        await ClockCycles(dut.aclk, 200)
        status = await bench.read("STATUS")
        assert status == 3 or (held and status == 1)  # busy, and a frame that ends inside a token if it came so far
        await bench.write("CONTROL", 3)
        await ClockCycles(dut.aclk, 200)
        bench.finish()
        await bench.expect(CONTROL=3 if held else 1)
        complete = {name: sink.count() for name, sink in bench.sinks.items()}
        assert set(complete.values()) == {0 if held else 2}
        for sink in bench.sinks.values():
            sink.clear()
            sink.pause = False
        await ClockCycles(dut.aclk, 60)
        zero = {f"{name}__{count}": 0 for name in [*bench.sources, *bench.sinks] for count in ("TOKENS", "MISFRAMED")}
        await bench.expect(CONTROL=1, STATUS=0, CYCLES_LOW=0, **zero)
        # The one transfer that an output offered still came, and nothing else; where a token is one, so did a frame.
        stale = int(held)
        for sink in bench.sinks.values():
            assert sink.count() <= stale
            while not sink.empty():
                assert len((await sink.recv()).tdata) == 1
                stale = 0
        await bench.send(0, 4)
        await bench.receive(0, 4, stale=stale)
    bench.finish()
