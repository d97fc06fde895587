"""Counts of gates and areas in cell libraries grow with the design, and say how sure they are."""

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.rtl_templates.memory import ActivationBuffer
from mxhw.synthesis import Library, asic, count_gates, map_to_cells, open_library, source_of
from tests.synthesis.designs import Accumulator, Adder


@pytest.fixture(scope="module")
def sg13g2(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Library:
    return open_library(shared / "liberty" / "sg13g2_typ.lib.gz", tmp_path_factory.mktemp("sg13g2"))


def test_gates_of_a_half_adder_are_those_of_the_textbook(tmp_path: Path) -> None:
    counted = count_gates(source_of(Adder(1)), tmp_path)
    assert (counted.cells, counted.flip_flops, counted.transistors) == (1, 0, 12)  # the sum of one bit is one XOR
    assert 3 <= counted.nand2 <= 4  # four, or three and inverters


def test_gates_grow_with_the_width_and_registers_are_counted(tmp_path: Path) -> None:
    narrow, wide = (count_gates(source_of(Accumulator(width)), tmp_path) for width in (4, 8))
    assert (narrow.flip_flops, wide.flip_flops) == (4, 8)
    assert narrow.cells < wide.cells
    assert narrow.nand2 < wide.nand2
    assert narrow.transistors < wide.transistors


def test_memories_are_not_counted(tmp_path: Path) -> None:
    small, large = (count_gates(source_of(ActivationBuffer(width=w, chunks=16)), tmp_path) for w in (8, 64))
    assert small == large


def test_area_grows_with_the_width(sg13g2: Library, tmp_path: Path) -> None:
    narrow, wide = (map_to_cells(source_of(Accumulator(width)), sg13g2, tmp_path) for width in (4, 8))
    assert 1.5 < wide.area / narrow.area < 2.5
    assert (narrow.flip_flops, wide.flip_flops) == (4, 8)
    assert narrow.delay < wide.delay
    for figure in (narrow, wide):
        assert figure.spread >= 0
        assert figure.area <= figure.quickest_area
        assert figure.quickest_delay <= figure.delay


def test_a_clock_is_met_if_it_can_be(sg13g2: Library, tmp_path: Path) -> None:
    source = source_of(Adder(8))
    relaxed = map_to_cells(source, sg13g2, tmp_path)
    clock = (relaxed.quickest_delay + relaxed.delay) / 2
    assert map_to_cells(source, sg13g2, tmp_path, clock).delay <= clock
    hopeless = map_to_cells(source, sg13g2, tmp_path, 1.0)
    assert hopeless.delay == hopeless.quickest_delay


@pytest.mark.parametrize(("buffers", "area"), [(0.05, 300.0), (0.5, 200.0)])
def test_a_result_full_of_buffers_is_made_again_without_wires(
    buffers: float, area: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = []

    def tries(library: object, folder: Path, targets: list[float], scripts: Mapping[str, str]) -> list[asic._Try]:
        ((recipe, script),) = scripts.items()
        tried.append(script)
        wires = "buffer,-c" in script
        return [asic._Try(300.0 if wires else 200.0, 90.0, recipe, buffers if wires else 0.02)]

    monkeypatch.setattr(asic, "_map_registers", lambda *_: 7)
    monkeypatch.setattr(asic, "_tries", tries)
    found = asic.map_once(source_of(Adder(2)), None, tmp_path, 100.0)  # type: ignore[arg-type]
    assert (found.area, found.flip_flops) == (area, 7)
    assert tried[0] == asic.ONCE["amap -F"]
    assert tried[1:] == [tried[0].replace("buffer,-c", "buffer")] * (buffers > 0.1)


def test_buffers_are_counted_by_the_names_of_cells(sg13g2: Library, tmp_path: Path) -> None:
    statistic = {"num_cells_by_type": {"sg13g2_buf_1": 3, "BUFx2_ASAP7_75t_R": 1, "sg13g2_inv_1": 4, "mxhw_ram": 9}}
    assert asic._buffers(statistic) == 0.5
    found = asic.map_once(source_of(Accumulator(4)), sg13g2, tmp_path, 10_000.0)
    assert found.recipe == "amap -F at 10000 ps"  # a small unit has few


def test_a_library_without_flip_flops_is_named(shared: Path, tmp_path: Path) -> None:
    gates = next((shared / "liberty" / "asap7").glob("*SIMPLE*"))
    inverters = next((shared / "liberty" / "asap7").glob("*INVBUF*"))
    folder = tmp_path / "no_registers"
    folder.mkdir()
    for file in (gates, inverters):
        (folder / file.name).write_bytes(file.read_bytes())
    library = open_library(folder, tmp_path / "unpacked")
    with pytest.raises(InputError, match=r"library no_registers has no cell for yosys' \$_SDFF"):
        map_to_cells(source_of(Accumulator(4)), library, tmp_path)


def test_a_plain_and_a_packed_library_are_the_same(shared: Path, tmp_path: Path) -> None:
    packed = next((shared / "liberty" / "asap7").glob("*INVBUF*"))
    plain = tmp_path / "a folder with spaces" / "inverters.lib"
    plain.parent.mkdir()
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    opened = [open_library(file, tmp_path / f"unpacked{index}") for index, file in enumerate((packed, plain))]
    assert opened[0].files[0].read_bytes() == opened[1].files[0].read_bytes()
    assert opened[1].name == "inverters"
    assert opened[1].sequential == (False,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("words.lib", b"These are words, not cells.\n", "Syntax error"),
        ("empty.lib", b"library (empty) { }\n", "no cell"),
        ("torn.lib.gz", gzip.compress(b"library (torn) { }\n" * 99, mtime=0)[:40], "cannot unpack"),
        ("never.lib.gz", b"not packed at all", "cannot unpack"),
    ],
)
def test_a_file_that_is_no_library_is_named_with_the_complaint(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as refused:
        open_library(file, tmp_path / "unpacked")
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_place_without_libraries_is_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none.lib"):
        with pytest.raises(InputError, match=f"no liberty file at {re.escape(str(place))}"):
            open_library(place, tmp_path / "unpacked")
