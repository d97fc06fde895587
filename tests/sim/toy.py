"""A hand-written stream design with a GEMM unit's ports, in a folder like an emitted one, and with planted faults."""

import random
from pathlib import Path

from mxhw.sim import GemmDesign

BEATS = 8
VERILOG = (Path(__file__).with_name("toy.v")).read_text()
DROPS, CHANGES, WITHDRAWS, ADDS, WAITS = 1, 2, 3, 4, 5


def toy_design(**changes: object) -> GemmDesign:
    """Return the record of the toy: 8 rows in tiles of 2, one column tile of 2 accumulators of 16 bits."""
    shape = {"m": BEATS, "n": 2, "k": 1, "rows": 2, "columns": 2, "lanes": 1}
    streams = {"x_width": 16, "x_beats": BEATS, "y_width": 32, "y_beats": BEATS, "accumulator_width": 16, "exponent": 0}
    names = {"node": "toy", "unit": "bitmod", "top": "toy", "weight_format": "int8", "input_format": "int8"}
    timing = {"cycles_stall_free": BEATS + 1, "idle_limit": 50}
    return GemmDesign(
        **{
            **names,
            **shape,
            **streams,
            **timing,
            "verilog": ("toy.v",),
            "images": {"weights.hex": 4, "fault.hex": 1},
            **changes,
        }
    )


def write_toy(folder: Path, *, fault: int = 0, **changes: object) -> Path:
    """Write the toy, its memory image and its beats into `folder`."""
    choose = random.Random(7)
    memory = [choose.getrandbits(16) for _ in range(4)]
    beats = [choose.getrandbits(16) for _ in range(BEATS)]
    sums = [(beat + memory[index % 4]) & 0xFFFF for index, beat in enumerate(beats)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.v").write_text(VERILOG)
    (folder / "fault.hex").write_text(f"{fault}\n")
    (folder / "weights.hex").write_text("".join(f"{word:x}\n" for word in memory))
    (folder / "x_beats.hex").write_text("".join(f"{word:x}\n" for word in beats))
    (folder / "y_beats.hex").write_text("".join(f"{word << 16 | word:x}\n" for word in sums))
    (folder / "design.json").write_text(toy_design(**changes).to_json())
    return folder
