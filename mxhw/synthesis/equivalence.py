"""Formal equivalence of a component and a plain second description, over all inputs and for all time.

The second description is Verilog text whose module is called ``gold`` and has the component's flat ports, as
:func:`mxhw.rtl_templates.component_verilog` names them (``clk`` and ``rst`` included where the component has state).
Registers of ``gold`` need both an initial value and a synchronous reset, because both are compared.

Two methods, as neither is enough alone:

- *sat*: a miter of both, and a SAT solver that looks for an input (combinational), or induction over time from the
  initial state (sequential), that makes an output differ. Where outputs alone are no inductive invariant, registers of
  equal names join them.
- *equiv* (sequential only): yosys' `equiv_*` passes pair wires by name and prove every pair by induction. They ignore
  the initial state.

Not done: several clocks, falling edges, asynchronous resets (every register is taken to follow one clock). Bits that
``gold`` leaves undefined may be taken as any value: define them all.
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

from amaranth.lib import wiring

from mxhw.synthesis.yosys import run_yosys, source_of

__all__ = ["Proof", "Step", "prove_equal"]

Verdict = Literal["proved", "refuted", "open"]
_PREPARE = "hierarchy -check -top {0}; proc -norom; flatten; memory; opt -full; opt_clean -purge; rename {0} {0}"
_EXPOSE = "expose -shared -dff gold gate"  # registers of equal names become outputs
_SUCCESS, _FAILURE = "SUCCESS!", "FAIL!"
_ROW = re.compile(r"^ +(?:(\d+|init) +)?\\(\S+) +\S+ +\S+ +([01x]+) *$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """One method's result: its name, what it found, how long it took."""

    method: str
    verdict: Verdict
    seconds: float


@dataclass(frozen=True)
class Proof:
    """What the methods found together.

    Attributes
    ----------
    proved : every method that ran proved equality.
    steps : the methods.
    counterexample : port values in every cycle up to one in which an output differs; None where there is none. Inputs
        are ``in_NAME``, outputs ``gold_NAME`` and ``gate_NAME`` (the component).
    """

    proved: bool
    steps: tuple[Step, ...]
    counterexample: tuple[Mapping[str, int], ...] | None = None

    @property
    def seconds(self) -> float:
        """Time of all methods."""
        return sum(step.seconds for step in self.steps)

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that ran."""
        return tuple(step.method for step in self.steps)


def prove_equal(
    component: wiring.Component,
    verilog: str,
    *,
    sequential: bool = False,
    max_steps: int = 8,
    names_match: bool = True,
    timeout: float = 1800.0,
) -> Proof:
    """Prove that a component equals the Verilog module ``gold``.

    Parameters
    ----------
    component : the design; ports as Amaranth flattens them.
    verilog : text that defines ``gold`` with the same ports, and what it instantiates.
    sequential : the design has state.
    max_steps : longest induction.
    names_match : registers of ``gold`` bear the names of the component's, so that *equiv* can pair them; without it
        only *sat* runs.
    timeout : seconds for each method.

    Raises
    ------
    MissingToolError
        If pyosys is not installed.
    YosysError
        If ``gold`` cannot be read, its ports differ, or a method takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="mxhw-proof-") as name:
        folder = Path(name)
        (folder / "gold.v").write_text(verilog, encoding="utf-8")
        read = [
            "read_verilog -sv gold.v",
            _PREPARE.format("gold"),
            "design -stash gold",
            *source_of(component, "gate", black_boxes=False).write(folder),
            _PREPARE.format("gate"),
            "design -stash gate",
            "design -copy-from gold -as gold gold",
            "design -copy-from gate -as gate gate",
        ]
        if not sequential:
            step, example = _solve(read, folder, timeout)
            return Proof(step.verdict == "proved", (step,), example)
        step, example = _induct(read, folder, max_steps, names_match, timeout)
        steps = [step]
        if names_match:
            steps.append(_equiv(read, folder, max_steps, timeout))
        return Proof(all(each.verdict == "proved" for each in steps), tuple(steps), example)


def _solve(read: list[str], folder: Path, timeout: float) -> tuple[Step, tuple[Mapping[str, int], ...] | None]:
    """Search for an input that makes outputs differ."""
    start = perf_counter()
    miter = "miter -equiv -flatten -make_outputs gold gate miter"
    solve = "sat -prove trigger 0 -show-inputs -show-outputs miter"
    log = run_yosys([*read, miter, "opt -full miter", solve], folder, timeout=timeout)
    verdict = _verdict(log)
    return Step("sat", verdict, perf_counter() - start), _cycles(log) if verdict == "refuted" else None


def _induct(
    read: list[str], folder: Path, max_steps: int, names_match: bool, timeout: float
) -> tuple[Step, tuple[Mapping[str, int], ...] | None]:
    """Prove by induction from the initial state that outputs, and if need be registers too, stay equal."""
    start = perf_counter()
    induct = f"sat -tempinduct -maxsteps {max_steps} -set-init-zero -prove trigger 0 -show-inputs -show-outputs miter"
    miter = "miter -equiv -flatten -make_outputs gold gate miter"
    log = run_yosys([*read, miter, "opt -full miter", induct], folder, timeout=timeout)
    verdict = _verdict(log)
    if verdict == "open" and names_match:
        # Not equiv_miter: the initial values of the registers do not reach it.
        stronger = run_yosys([*read, _EXPOSE, miter, "opt -full miter", induct], folder, timeout=timeout)
        # A difference between registers need not reach an output, so only success counts here.
        if _verdict(stronger) == "proved":
            return Step("sat with registers", "proved", perf_counter() - start), None
    return Step("sat", verdict, perf_counter() - start), _cycles(log) if verdict == "refuted" else None


def _equiv(read: list[str], folder: Path, max_steps: int, timeout: float) -> Step:
    """Prove by induction that wires of equal names stay equal once they are."""
    start = perf_counter()
    pairs = ["equiv_make gold gate pairs", "hierarchy -top pairs", "opt_clean"]
    prove = ["equiv_struct", "equiv_simple -seq 1", f"equiv_induct -seq {max_steps}", "equiv_status"]
    log = run_yosys([*read, *pairs, *prove], folder, timeout=timeout)
    proved = "Equivalence successfully proven!" in log
    return Step("equiv", "proved" if proved else "open", perf_counter() - start)


def _verdict(log: str) -> Verdict:
    """Return what `sat` said last."""
    last = max(log.rfind(_SUCCESS), log.rfind(_FAILURE))
    if last < 0:
        return "open"
    if log.startswith(_SUCCESS, last):
        return "proved"
    return "refuted" if "model found" in log else "open"


def _cycles(log: str) -> tuple[Mapping[str, int], ...]:
    """Return the port values of the table that `sat` printed, cycle by cycle; undefined bits read as zero."""
    cycles: dict[str, dict[str, int]] = {}
    for time, name, bits in _ROW.findall(log):
        cycles.setdefault(time, {})[name] = int(bits.replace("x", "0"), 2)
    cycles.pop("init", None)
    return tuple(cycles[time] for time in sorted(cycles, key=lambda text: int(text or 0)))
