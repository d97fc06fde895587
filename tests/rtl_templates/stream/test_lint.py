"""The Verilog of every unit of this room is clean."""

import pytest

from mxhw.rtl_templates import component_verilog
from mxhw.rtl_templates.stream import UNITS
from mxhw.sim import build

CASES = [
    *((unit.name, {}) for unit in UNITS),
    *(("fifo", {"depth": depth}) for depth in (0, 1, 2)),
    ("width_converter", {"x_lanes": 4, "y_lanes": 2}),
    ("width_converter", {"last": True}),
    ("width_converter", {"x_lanes": 4, "y_lanes": 2, "last": True}),
    ("width_converter", {"y_lanes": 1}),
    ("stream_fork", {"outputs": 1}),
    ("tile_order_converter", {"columns": 1, "tile_rows": 1, "tile_columns": 1}),
    ("tile_order_converter", {"direction": "to_rows", "columns": 6, "tile_rows": 1, "tile_columns": 3}),
]


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_verilog_is_clean(name, parameters, tmp_path):
    unit = next(unit for unit in UNITS if unit.name == name)
    source = tmp_path / "unit.v"
    source.write_text(component_verilog(unit.make(**parameters), "unit"))
    assert build.lint([source], "unit") == ""


def test_lint_complains_about_an_undriven_output(tmp_path):
    source = tmp_path / "unit.v"
    source.write_text("module unit(input a, output b); endmodule\n")
    assert "UNDRIVEN" in build.lint([source], "unit")
