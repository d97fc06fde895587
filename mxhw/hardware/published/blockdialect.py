"""The MACs of BlockDialect [ICML 2025, arXiv 2501.01144v5, Table 5] beside ours, as ratios of area.

The paper synthesised with Design Compiler in Nangate 45 nm at 0.5 GHz; our sizes are those of the measured table
(:mod:`mxhw.hardware.components`). Only ratios within a column compare. Power is published and not measured here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mxhw.hardware.components import measured_units

__all__ = [
    "CLOCK",
    "DIALECT",
    "TABLE_5",
    "AreaRatio",
    "PublishedMac",
    "area_ratios",
    "measured_ratios",
    "units_compared",
]

CLOCK = 0.5e9  # Hz


@dataclass(frozen=True)
class PublishedMac:
    """A row of Table 5: areas [um2], powers [uW]; ``units``: the same in our library, by their names there."""

    name: str
    multiplier_area: float
    multiplier_power: float
    accumulator_area: float
    accumulator_power: float
    area: float
    power: float
    units: tuple[str, ...] = ()

    @property
    def energy(self) -> float:
        """pJ an operation, at the paper's clock."""
        return self.power * 1e-6 / CLOCK * 1e12


DIALECT = PublishedMac("DialectFP4", 63.31, 16.02, 184.87, 118.91, 248.18, 134.92, ("dialect_mac",))
# The paper does not say which FP6 it is. Its INT5 and the DialectFP4 MAC on top of an INT4 one have no unit here.
TABLE_5 = (
    PublishedMac("INT4", 62.51, 20.59, 138.59, 80.16, 207.48, 104.18, ("int_mac:width=4",)),
    PublishedMac("INT5", 101.88, 34.35, 171.04, 106.80, 275.04, 142.18),
    PublishedMac("INT8", 301.91, 162.93, 244.72, 162.79, 554.34, 331.17, ("int_mac",)),
    PublishedMac("FP4 (E2M1)", 71.55, 30.04, 171.04, 96.92, 246.85, 129.44, ("mxfp_mac",)),
    PublishedMac(
        "FP6",
        158.54,
        73.88,
        223.17,
        139.80,
        381.71,
        213.68,
        ("mxfp_mac:element=mxfp6-e2m3", "mxfp_mac:element=mxfp6-e3m2"),
    ),
    DIALECT,
    PublishedMac("DialectFP4 on INT4", 120.76, 41.58, 168.11, 103.09, 299.52, 149.22),
)


@dataclass(frozen=True)
class AreaRatio:
    """The area of a DialectFP4 MAC over that of another, published and ours; None: not in our library."""

    mac: str
    unit: str | None
    published: float
    ours: float | None
    published_energy: float


def units_compared(products: int | None = None) -> dict[str, str]:
    """Return our units that Table 5 is compared with, by name; with all parameters: those that sum so many products.

    The paper's MACs all sum 64; in the measured table those of integers sum 512, those of blocks 32.
    """
    names = [unit for mac in TABLE_5 for unit in mac.units]
    if products is None:
        return {name: name for name in names}
    summed = {name: f"{'k' if name.startswith('int_mac') else 'block'}={products}" for name in names}
    return {name: f"{name}{',' if ':' in name else ':'}{what}" for name, what in summed.items()}


def area_ratios(sizes: Mapping[str, float]) -> list[AreaRatio]:
    """Return the ratios of Table 5 and those of our units, whose sizes are given by name."""
    (dialect,) = DIALECT.units
    return [
        AreaRatio(
            mac=mac.name,
            unit=unit,
            published=DIALECT.area / mac.area,
            ours=None if unit is None else sizes[dialect] / sizes[unit],
            published_energy=DIALECT.energy / mac.energy,
        )
        for mac in TABLE_5
        if mac is not DIALECT
        for unit in mac.units or (None,)
    ]


def measured_ratios(library: str) -> list[AreaRatio]:
    """Return the ratios in a measured library ("asap7", "sg13g2", "xilinx" and so on).

    Raises
    ------
    InputError
        If the library was not measured.
    """
    return area_ratios({name: unit.size for name, unit in measured_units(library).items()})
