"""A user's platform file: the example loads, and every fault is refused in one line that says file, key and value."""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.hardware.platform import AsicPlatform, FpgaPlatform, records

SHIPPED = Path("mxhw/hardware/data/platforms")
EXAMPLE = Path("examples/platform.toml")


def test_example_loads_and_names_every_key(repository: Path) -> None:
    text = (repository / EXAMPLE).read_text(encoding="utf-8")
    example = load_platform(repository / EXAMPLE)
    assert isinstance(example, AsicPlatform)
    keys = {each.name for kind in (AsicPlatform, FpgaPlatform) for each in fields(kind)}
    for record in vars(records).values():
        if is_dataclass(record) and record.__module__ == records.__name__:
            keys |= {each.name for each in fields(record)}
    assert keys
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}\b", text)] == []


def asap7(repository: Path) -> str:
    return (repository / SHIPPED / "asap7.toml").read_text(encoding="utf-8")


def zu7ev(repository: Path) -> str:
    return (repository / SHIPPED / "zu7ev.toml").read_text(encoding="utf-8")


def without(table: str) -> tuple[str, str]:
    """Return a pattern of a whole table of a file, and nothing in its place."""
    return rf"\[{re.escape(table)}\]\n(?:[^\[\n].*\n)*", ""


ASIC_FAULTS = [
    (r"\[clock\]", "[clocks]", "unknown key 'clocks'; did you mean 'clock'? (known here: name, description,"),
    (r'source = "default of ours', 'sauce = "default of ours', "key 'budget.area.sauce'; did you mean 'source'"),
    (r'(\[clock\]\n.*\n.*\n)source = .*\n', r"\1", "'clock.source' is missing (here belong: value, unit, source)"),
    (r"value = 500e6", 'value = "fast"', "'clock.value' = 'fast': must be a number"),
    (r"value = 500e6", "value = true", "'clock.value' = True: must be a number"),
    (r"value = 500e6", "value = inf", "'clock.value' = inf: must be a finite number"),
    (r"value = 500e6", "value = -5", "'clock': value must be above 0, not -5"),
    (r'unit = "Hz"', 'unit = "MHz"', "'clock': unit must be 'Hz', not 'MHz'"),
    (r'(unit = "Hz"\nsource = ).*', r'\1""', "'clock.source' = '': must not be empty"),
    (r'kind = "asic"', 'kind = "gpu"', "'kind' must be one of asic, fpga, not 'gpu'"),
    (r'kind = "asic"', 'kind = "fpga"', "unknown key 'energy.logic' (known here: lut, ff, dsp, activity)"),
    (r'library = "asap7"', 'library = "asap8"', "'library' = 'asap8': no components were measured in library 'asap8'"),
    (r"\[budget.area\]", "[budget.aera]", "unknown key 'budget.aera'; did you mean 'area'? (budgets: area)"),
    (*without("clock"), "'clock' is missing"),
    (*without("memory.sram.bit"), "'memory.sram.bit' is missing (here belong: bit, macro,"),
    (r'reference = "int8_mac"', 'reference = "int8_mca"', "library 'asap7'; did you mean 'int8_mac'?"),
    (r'reference = "int8_mac"\n', "", "'energy.logic': unit must be 'pJ/(um2*cycle)' without a reference"),
    (r"value = 0.10", "value = -0.10", "'energy.logic.value' = -0.1: "),
    (r"\[8192, 64, 7.5\]", "[8192, 64]", "'memory.sram.read': rows must each be 3 numbers above 0"),
    (r"\[8192, 64, 7.5\]", "[8192, 64, 9.5]", "'memory.sram.read': rows do not agree: [32768.0, 64.0, 8.5]"),
    (r", \[32768, 64, 8.5\], \[1048576, 64, 14.0\]", "", "'memory.sram.read': rows must have memories of two sizes"),
    (r"rows = .*", 'rows = "many"', "'memory.sram.read.rows' = 'many': must be a list of lists of numbers"),
    (r"value = 4096", "value = 1000000", "'memory.sram': minimum 1e+06 is above maximum 81920"),
    (r"value = 80\n", "value = 100000\n", "'memory.sram': widest 100000 is above maximum 81920"),
    (r"\[memory.sram.read\]", "[memory.sram.write]", "'memory.sram': write has a cost, so that read must have one"),
    (r"\[static.logic\]\nvalue = .*\nunit = .*", '[static.part]\nvalue = 1\nunit = "W"', "'static.part' is of FPGAs"),
    (r"value = 25.6", "value = 0", "'offchip.lpddr4.bandwidth': value must be above 0, not 0"),
    (r"value = 25.6", "value = -1", "'offchip.lpddr4.bandwidth': value must be above 0, not -1"),
    (r'unit = "GB/s"', 'unit = "MB/s"', "'offchip.lpddr4.bandwidth': unit must be 'GB/s', not 'MB/s'"),
    (r"\[offchip.lpddr4.latency\]", "[offchip.lpddr4.latancy]", "key 'offchip.lpddr4.latancy'; did you mean 'lat"),
    (*without("offchip.lpddr4.capacity"), "'offchip.lpddr4.capacity' is missing"),
    (r"\[clock\]\nvalue", "clock = 5\n[clack]\nvalue", "unknown key 'clack'; did you mean 'clock'?"),
    (r"\[clock\]\n(.*\n){3}", "", "'clock' is missing"),
    (r"\[clock\]", "[clock", "not valid TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "change", "said"), ASIC_FAULTS)
def test_faults_of_asics_are_one_clear_line(
    pattern: str, change: str, said: str, tmp_path: Path, repository: Path
) -> None:
    refuses(asap7(repository), pattern, change, said, tmp_path)


FPGA_FAULTS = [
    (r"\[72, 512, 1\]", "[72, 1024, 1]", "shapes: 72 bits x 1024 words are 73728 bits, above the 36864 of 1"),
    (r"\[36, 512, 0.5\]", "[72, 512, 0.5]", "'memory.block': shapes: 72 bits x 512 words are 36864 bits, above"),
    (r"\[14, 32, 8\]", "[14, 64, 8]", "shapes: 14 bits x 64 words are 896 bits, above the 512 that 8 LUTs"),
    (r"\[72, 4096, 1\]", "[72, 4096]", "'memory.ultra.shapes': rows must each be 3 numbers above 0"),
    (r'unit = "bits, words, LUTs"', 'unit = "bits, words"', "shapes': unit must be 'bits, words, LUTs', not"),
    (r"rows = \[\[72, 4096, 1\]\]", "rows = []", "'memory.ultra.shapes': rows must have one row at least"),
    (r"initial_values = false", 'initial_values = "no"', "'memory.ultra.initial_values' = 'no': must be true or false"),
    (*without("budget.uram"), "'budget.uram' is missing, though there is 'memory.ultra'"),
    (*without("budget.ff"), "'budget.ff' is missing (budgets: lut, dsp, bram, ff, uram)"),
    (r"\[budget.lut\]\nvalue = \d+", "[budget.lut]\nvalue = 0", "'budget.lut': value must be above 0, not 0"),
    (r"\[energy.lut\]", "[energy.slices]", "unknown key 'energy.slices' (known here: lut, ff, dsp, activity)"),
    (r"\[static.part\]\nvalue = .*\nunit = .*", '[static.logic]\nvalue = 1\nunit = "W/um2"', "'static.logic' is of A"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "change", "said"), FPGA_FAULTS)
def test_faults_of_fpgas_are_one_clear_line(
    pattern: str, change: str, said: str, tmp_path: Path, repository: Path
) -> None:
    refuses(zu7ev(repository), pattern, change, said, tmp_path)


def refuses(text: str, pattern: str, change: str, said: str, folder: Path) -> None:
    """Check that a file of the user's loads, and with one fault is refused in one line that names it."""
    mine = folder / "mine.toml"
    mine.write_text(text, encoding="utf-8")
    load_platform(mine)
    broken, times = re.subn(pattern, change, text, count=1)
    assert times == 1
    mine.write_text(broken, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_platform(mine)
    message = str(caught.value)
    assert message.startswith(f"platform file {mine}: ")
    assert said in message
    assert "\n" not in message


def test_without_ultra_an_fpga_needs_no_budget_of_it(tmp_path: Path, repository: Path) -> None:
    text = zu7ev(repository)
    for table in ("budget.uram", "memory.ultra", "memory.ultra.capacity", "memory.ultra.shapes"):
        text, times = re.subn(without(table)[0], "", text)
        assert times == 1
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert "uram" not in load_platform(tmp_path / "mine.toml").budget
