"""The engine: yosys passes in a process of their own, their log kept back unless something fails.

pyosys is yosys as a Python package. An error inside it ends the process that it runs in (`log_error` exits with 1, an
internal assertion aborts), so passes never run in ours.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring

from mxhw.errors import InputError, require_extra

__all__ = [
    "BLACK_BOXES",
    "Source",
    "YosysCrashError",
    "YosysError",
    "require_yosys",
    "run_yosys",
    "source_of",
    "statistics",
    "tool_version",
]

_RUNNER = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in open(sys.argv[1], encoding="utf-8"):
    libyosys.run_pass(command.strip(), design)
"""
BLACK_BOXES = """
(* blackbox *) module mxhw_rom #(parameter WIDTH = 8, DEPTH = 1, ADDRESS = 1, FILE = "")
  (input clk, input enable, input [ADDRESS-1:0] address, output [WIDTH-1:0] data); endmodule
(* blackbox *) module mxhw_ram #(parameter WIDTH = 8, DEPTH = 1, ADDRESS = 1)
  (input clk, input write, input [ADDRESS-1:0] write_address, input [WIDTH-1:0] write_data, input enable,
   input [ADDRESS-1:0] address, output [WIDTH-1:0] data); endmodule
"""
_MEMORY = re.compile(r"cell \\mxhw_r[ao]m .*\n\s+parameter \\WIDTH (\d+)\n\s+parameter \\DEPTH (\d+)")
_QUEUE = re.compile(r"memory width (\d+) size (\d+)")
_QUEUE_WORDS = 32  # from here on, the words of a memory inside a component are no registers
# A wire called like one bit of another makes yosys 0.70 stop at an assertion when it splits that other into bits.
_ELEMENT = re.compile(r"(\\[^\s\[]+)\[(\d+)\]")
_ERROR = re.compile(r"ERROR: (.*)")
_ABC_ERROR = re.compile(r"ABC: (.*(?:Error:|cannot be used).*)")
_LAST_LINES = 5


class YosysError(InputError):
    """Yosys refused a command; the message is its complaint, ``log`` all that it said."""

    def __init__(self, complaint: str, log: str = "") -> None:
        super().__init__(complaint)
        self.complaint = complaint
        self.log = log


class YosysCrashError(YosysError):
    """Yosys died of a fault of its own; another option may avoid it."""


def require_yosys() -> None:
    """Raise MissingToolError with the install command unless pyosys is installed."""
    require_extra("pyosys", "synth", "synthesis with yosys")


@cache
def tool_version() -> str:
    """Return what figures are said to come from, for instance "yosys 0.70"."""
    require_yosys()
    return f"yosys {version('pyosys')}"


def run_yosys(commands: Sequence[str], folder: Path, *, timeout: float | None = None) -> str:
    """Run commands on an empty design with ``folder`` as the working directory; return the log of everything.

    Raises
    ------
    MissingToolError
        If pyosys is not installed.
    YosysError
        If yosys refuses a command, dies, or takes longer than ``timeout`` seconds.
    """
    require_yosys()
    script = folder / "script.ys"
    script.write_text("".join(f"{command}\n" for command in commands), encoding="utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-c", _RUNNER, script.name],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise YosysError(f"yosys did not finish within {timeout:g} s") from None
    if done.returncode != 0:
        raise (YosysCrashError if done.returncode < 0 else YosysError)(_complaint(done), done.stdout + done.stderr)
    return done.stdout


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """Return one line that says why yosys stopped."""
    said = f"{done.stdout}\n{done.stderr}"
    found = _ERROR.findall(said)
    if found and "ABC output file" in found[-1]:  # abc stopped; what it complained of stands above
        found = _ABC_ERROR.findall(said)[:1] or found
    if found:
        return f"yosys: {found[-1].strip()}"
    end = " | ".join(line.strip() for line in said.splitlines()[-_LAST_LINES:] if line.strip())
    return f"yosys stopped with exit code {done.returncode}: {end}"


@dataclass(frozen=True)
class Source:
    """A component as yosys reads it.

    Attributes
    ----------
    text : RTLIL whose top module is ``name``; the memory components are instances of black boxes.
    boxed_bits : what those memories hold.
    queued_bits : what other memories of 32 words and more hold, queues for instance.
    """

    text: str
    name: str
    boxed_bits: int = 0
    queued_bits: int = 0

    @property
    def memory_bits(self) -> int:
        """What the memories hold that counts of gates leave out."""
        return self.boxed_bits + self.queued_bits

    def cut_queues(self) -> tuple[str, ...]:
        """Return the commands, after those that read the source, that take memories of 32 words and more out."""
        if not self.queued_bits:
            return ()
        flat = (f"hierarchy -check -top {self.name}", "proc", "flatten", "opt -full", "memory -nomap")
        return (*flat, f"cutpoint t:$mem_v2 r:SIZE>={_QUEUE_WORDS} %i")

    def write(self, folder: Path) -> tuple[str, ...]:
        """Write the text into ``folder``; return the commands that read it there."""
        (folder / f"{self.name}.il").write_text(self.text, encoding="utf-8")
        boxes: tuple[str, ...] = ()
        if self.boxed_bits:
            (folder / "memories.v").write_text(BLACK_BOXES, encoding="utf-8")
            boxes = ("read_verilog -lib memories.v",)
        return (*boxes, f"read_rtlil {self.name}.il")


class _BlackBoxMemories:
    """Platform whose memory components are instances of modules without contents."""

    reads_memory_files = True


def source_of(component: wiring.Component, name: str = "top", *, black_boxes: bool = True) -> Source:
    """Return a component as module ``name``; ``black_boxes`` leaves the contents of Rom and Ram out."""
    platform = _BlackBoxMemories() if black_boxes else None
    text = rtlil.convert(component, name=name, platform=platform, emit_src=False)
    text = _ELEMENT.sub(r"\1.\2", text)
    boxed, queues = ([(int(width), int(words)) for width, words in kind.findall(text)] for kind in (_MEMORY, _QUEUE))
    queued = sum(width * words for width, words in queues if words >= _QUEUE_WORDS)
    return Source(text, name, sum(width * words for width, words in boxed), queued)


def statistics(folder: Path, name: str = "stat.json") -> dict[str, Any]:
    """Return the whole design's part of what ``tee -o NAME stat -json`` wrote into ``folder``."""
    text = (folder / name).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text[text.index("{") :])["design"]
    return found
