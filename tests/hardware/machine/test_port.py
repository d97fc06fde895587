"""What comes through a port takes the beats and cycles of the RTL's loader, and no less than the bandwidth allows."""

import random
from dataclasses import replace

import pytest

from mxhw.errors import InputError
from mxhw.hardware.machine.port import Load, Port, best_port
from mxhw.hardware.structure import Product
from mxhw.rtl_templates.memory.layer_loader import LayerWords
from tests.hardware.machine.models import TINY, llama


def products() -> list[Product]:
    block = llama(replace(TINY, hidden=64, ffn=96)).blocks[0].design
    return [step.unit for step in block.steps.values() if isinstance(step.unit, Product)]


@pytest.mark.parametrize("seed", range(30))
def test_words_come_in_the_beats_and_cycles_of_the_loader(seed: int) -> None:
    draw = random.Random(seed)
    width, depth, bits = draw.randint(1, 700), draw.randint(1, 90), 32 * draw.randint(1, 20)
    words, load = LayerWords(width, depth, bits), Port(bits, float(bits)).words(depth, width)
    assert load == Load(words.cycles, words.beats * bits)


def test_no_words_are_no_load() -> None:
    assert Port(32, 1.0).words(0, 8) == Port(32, 1.0).words(8, 0) == Load(0, 0)


def test_a_layer_moves_all_bits_of_its_memories() -> None:
    for unit in products():
        for bits in (32, 96, 4096):
            port = Port(bits, 1e9)
            assert port.tiles(unit).bits >= port.layer(unit).bits >= unit.weight_bits
        whole = Port(32, 1e9).layer(unit)
        assert whole.bits < unit.weight_bits * 1.3


@pytest.mark.parametrize("bandwidth", [1.0, 50.0, 1e4])
def test_loads_take_as_long_as_the_bandwidth_says_at_least(bandwidth: float) -> None:
    port = Port(256, bandwidth)
    loads = [port.layer(unit) for unit in products()]
    moved = sum(load.bits for load in loads)
    assert port.side_by_side(loads) >= moved / port.rate
    assert port.after_each_other(loads) >= port.side_by_side(loads)
    assert port.side_by_side([]) == 0


def test_a_wider_or_quicker_memory_is_never_slower() -> None:
    units = products()
    cycles = [best_port(units, bandwidth) for bandwidth in (8.0, 64.0, 500.0, 4000.0, 1e6)]
    times = [port.side_by_side(map(port.tiles, units)) for port in cycles]
    assert times == sorted(times, reverse=True)
    assert times[0] > times[-1]


@pytest.mark.parametrize("bits", [0, 48, -64, 33])
def test_ports_that_cannot_be_are_refused(bits: int) -> None:
    with pytest.raises(InputError, match=f"must have a multiple of 32 bits, not {bits}"):
        Port(bits, 10.0)
    with pytest.raises(InputError, match=r"must give more than 0 bits a cycle, not 0\.0"):
        Port(32, 0.0)
