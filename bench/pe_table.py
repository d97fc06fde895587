"""The README's tables of processing elements, from the measured table of sizes; beside them the papers' own ratios.

    python bench/pe_table.py

Sizes are those of `mxhw/hardware/data/pe_area.json` (`make table-synth` measures them again). Papers used other
technologies and tools: only ratios within one column compare.
"""

from mxhw.hardware.components import Component, measured_units
from mxhw.hardware.published import DIALECT, TABLE_5
from mxhw.rtl_templates.catalogue import unit_templates

PES = (
    "bitmod_pe",
    "bitmod_pe:weight_type=fp4",
    "bitmod_pe:weight_type=fp3",
    "bitmod_pe:weight_type=fp3-oneterm",
    "bitmod_pe:weight_type=int6",
    "bitmod_pe:weight_type=int8",
    "bitmod_pe:accumulator=exact",
    "bitmod_int_pe",
    "bitmod_int_pe:weight_type=fp3-oneterm",
    "bitmod_int_pe:weight_type=int8",
    "bitmod_int_pe:weight_type=runtime",
    "dialect_mac",
    "dialect_mac:decode=inside",
    "mxfp_mac",
    "mxfp_mac:element=mxfp6-e2m3",
    "mxfp_mac:element=mxfp6-e3m2",
    "mxfp_mac:element=mxfp8-e4m3",
    "mxfp_mac:element=mxfp8-e5m2",
    "mxint_mac",
    "mxint_mac:element=mxint4",
    "int_mac",
    "int_mac:width=4",
    "fp16_mac",
    "fp16_mac:rounding=truncate",
    "dialect_pe",
    "block_pe",
)

# Area ratios as published, (numerator, denominator, published areas in um2, source).
BLOCKDIALECT = "BlockDialect (2501.01144v5), Table 5, Nangate 45 nm"
PUBLISHED = (
    *(
        ("dialect_mac", unit, (DIALECT.area, mac.area), BLOCKDIALECT)
        for mac in TABLE_5
        if mac is not DIALECT
        for unit in mac.units
    ),
    ("bitmod_pe", "fp16_mac", (1793.7, 1968.7), "BitMoD (2411.11745), PE_Area_Power.xlsx, TSMC 28 nm, with registers"),
    ("dialect_mac", "fp16_mac", None, "not published"),
)


def _pair(table: dict[str, Component], name: str) -> str:
    unit = table[name]
    return f"{unit.size:,.1f} ({unit.delay:,.0f})" if name in table and unit.delay is not None else "–"


def _macs(name: str) -> float:
    unit, _, words = name.partition(":")
    template = unit_templates()[unit]
    given = dict(word.split("=") for word in words.split(",") if word)
    chosen = template.complete({key: int(value) if value.isdigit() else value for key, value in given.items()})
    assert template.macs_per_cycle is not None
    return template.macs_per_cycle(**chosen)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def print_units() -> None:
    """Print one row a processing element."""
    generic, asap7, sg13g2, xilinx, ecp5 = map(measured_units, ("generic", "asap7", "sg13g2", "xilinx", "ecp5"))
    columns = [
        *("unit", "products a cycle", "cells", "NAND2", "flip-flops", "ASAP7 µm² (ps)", "SG13G2 µm² (ps)"),
        *("ASAP7 µm² a product a cycle", "UltraScale+ LUT", "ECP5 LUT, MHz"),
    ]
    print(_row(columns))
    print(_row(["---", *["--:"] * (len(columns) - 1)]))
    for name in PES:
        gates, macs = generic[name], _macs(name)
        clock = ecp5[name].clock
        print(
            _row(
                [
                    f"`{name}`",
                    f"{macs:.3g}",
                    *(f"{count:,.0f}" for count in (gates.size, gates.nand2 or 0, gates.flip_flops)),
                    _pair(asap7, name),
                    _pair(sg13g2, name),
                    f"{asap7[name].size / macs:,.1f}",
                    f"{xilinx[name].size:,.0f}",
                    f"{ecp5[name].size:,.0f}, {'–' if clock is None else f'{clock:.0f}'}",
                ]
            )
        )


def print_ratios() -> None:
    """Print area ratios, ours and the papers'."""
    asap7, sg13g2 = measured_units("asap7"), measured_units("sg13g2")
    print(_row(["area of", "over that of", "ASAP7", "SG13G2", "published", "where"]))
    print(_row(["---", "---", "--:", "--:", "--:", "---"]))
    for unit, other, areas, source in PUBLISHED:
        ours = [f"{table[unit].size / table[other].size:.3f}" for table in (asap7, sg13g2)]
        published = "–" if areas is None else f"{areas[0] / areas[1]:.3f}"
        print(_row([f"`{unit}`", f"`{other}`", *ours, published, source]))


def main() -> None:
    print_units()
    print()
    print_ratios()


if __name__ == "__main__":
    main()
