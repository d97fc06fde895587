"""What clock a design runs at, where that is known, so that its cycles become time.

Known is a clock after place and route, which stands in `implementation.json` beside the design and is true of the
design whose hash it has; or that of the platform that the design was balanced for, an assumption until it is built.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mxhw.errors import InputError
from mxhw.sim.dataflow_design import DataflowDesign

__all__ = ["IMPLEMENTATION_FILE", "Clock", "Implementation", "design_clocks", "read_implementations"]

IMPLEMENTATION_FILE = "implementation.json"
_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (0.0, "ns"))


@dataclass(frozen=True)
class Implementation:
    """What a design takes of an FPGA family, and how fast it runs there.

    Attributes
    ----------
    family : as `mxhw synth --fpga` takes it.
    top : "axi" with its AXI ports, "core" without.
    bus : largest width of a tdata; None for a core.
    clock_mhz : after place and route; None where that was not done or the design does not fit.
    lut, lut_sites, flip_flops, carry, dsp, lut_memory : as in :class:`mxhw.synthesis.Resources`.
    block_memory : memory blocks of about 18 Kibit.
    seed : of place and route.
    tools : versions.
    """

    family: str
    top: Literal["axi", "core"]
    bus: int | None
    clock_mhz: float | None
    lut: int
    lut_sites: int
    flip_flops: int
    carry: int
    dsp: int
    lut_memory: int
    block_memory: int
    seed: int
    tools: Mapping[str, str]

    def microseconds(self, cycles: float) -> float | None:
        """Return the time that cycles take; None where the clock is not known."""
        return None if self.clock_mhz is None else cycles / self.clock_mhz


@dataclass(frozen=True)
class Clock:
    """A clock of a design [Hz], and where it comes from, for people."""

    hz: float
    source: str

    def seconds(self, cycles: float) -> float:
        """Return the time that cycles take."""
        return cycles / self.hz

    def words(self, cycles: float) -> str:
        """Say the time of cycles: "41.2 µs at 82.8 MHz (ecp5, placed and routed)"."""
        seconds = self.seconds(cycles)
        least, unit = next(each for each in _UNITS if seconds >= each[0])
        return f"{_figures(seconds / (least or 1e-9))} {unit} {self._at()}"

    def rate(self, cycles: float, what: str) -> str:
        """Say how many things there are a second that take `cycles` each: "41,200 tokens/s at 82.8 MHz (…)"."""
        return f"{_figures(self.hz / cycles)} {what}/s {self._at()}"

    def _at(self) -> str:
        return f"at {_figures(self.hz / 1e6)} MHz ({self.source})"

    def to_json(self, cycles: float | None) -> dict[str, Any]:
        """Return the clock, and the seconds that cycles take."""
        return {**asdict(self), "seconds": None if cycles is None else self.seconds(cycles)}


def _figures(value: float) -> str:
    """Return a number with three figures, or more where it is a large one."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def design_clocks(folder: Path, design: DataflowDesign | None = None) -> tuple[Clock, ...]:
    """Return the clocks after place and route, or else that of the platform; none where neither is known.

    Parameters
    ----------
    design : what `folder`/design.json says, if it has been read.
    """
    design = design or DataflowDesign.load(folder)
    routed = tuple(
        Clock(found.clock_mhz * 1e6, f"{family}, placed and routed")
        for family, found in read_implementations(folder, design).items()
        if found.clock_mhz is not None
    )
    if routed or design.clock_hz is None:
        return routed
    return (Clock(design.clock_hz, f"clock of platform {design.platform}"),)


def read_implementations(folder: Path, design: DataflowDesign | None = None) -> dict[str, Implementation]:
    """Return what is known of the design in a folder, by family; nothing of another design that was there before.

    Raises InputError for a file that is damaged.
    """
    path = folder / IMPLEMENTATION_FILE
    design = design or DataflowDesign.load(folder)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["hash"] != design.hash:
            return {}
        fields = Implementation.__dataclass_fields__
        return {
            family: Implementation(**{name: value for name, value in entry.items() if name in fields})
            for family, entry in record["families"].items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"cannot read {path}: {type(error).__name__}: {error}; remove it and implement the design again"
        ) from error
