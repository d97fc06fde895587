"""The numbers of a design that a search may minimize, maximize or bound: names, units, directions, stages.

Stages, in the order in which a trial learns them: "ledger" and "plan" need no forward pass, so that a design that
breaks a bound of theirs costs next to nothing; "speed" needs the cost of a whole run (a prompt and tokens after it);
"quality" and "task" run the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from mxhw.errors import InputError, nearest
from mxhw.hardware import Platform

__all__ = ["ACCURACY", "FIGURES", "Figure", "Stage", "check_bounds", "figure_of", "plan_figures", "violations"]

Stage = Literal["ledger", "plan", "speed", "quality", "task"]
ACCURACY = "accuracy:"


@dataclass(frozen=True)
class Figure:
    """A number of a design.

    Attributes
    ----------
    name, unit, meaning : str
    stage : see the module.
    maximize : bool
        Whether more is better; a bound is then a lower one.
    """

    name: str
    unit: str
    meaning: str
    stage: Stage
    maximize: bool = False

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """As Optuna names it."""
        return "maximize" if self.maximize else "minimize"


FIGURES: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure("kl", "nats/token", "KL divergence from the float model's predictions", "quality"),
        Figure("perplexity", "", "on the search text", "quality"),
        Figure(
            "agreement", "", "share of positions whose likeliest token is the float model's", "quality", maximize=True
        ),
        Figure("bits", "bits/weight", "true bits of the weights, scales and metadata included", "ledger"),
        Figure("input_bits", "bits/input", "true bits of the inputs of linear layers", "ledger"),
        Figure("cycles", "cycles", "between prompts: those of the slowest unit", "plan"),
        Figure("area", "um2 or LUT", "of the whole design", "plan"),
        Figure("lut", "LUT", "look-up tables", "plan"),
        Figure("ff", "FF", "flip-flops", "plan"),
        Figure("dsp", "DSP", "DSP blocks", "plan"),
        Figure("bram", "BRAM", "block memories", "plan"),
        Figure("memory", "bits", "that the memories hold", "plan"),
        Figure("energy", "pJ", "of a prompt", "plan"),
        Figure("edp", "pJ s", "energy of a prompt times the time between prompts", "plan"),
        Figure("prefill", "s", "of a prompt, to the first token", "speed"),
        Figure("decode", "s", "of one more token", "speed"),
        Figure("throughput", "tokens/s", "of decoding", "speed", maximize=True),
        Figure("energy_per_token", "pJ", "of decoding", "speed"),
        Figure("bytes_per_token", "bytes", "that decoding a token reads and writes outside the chip", "speed"),
    )
}
_ENERGIES = ("energy", "edp", "energy_per_token")


def figure_of(name: str, what: str = "objective") -> Figure:
    """Return the figure of a name; `accuracy:TASK` is that of a task of lm-eval.

    Raises
    ------
    InputError
        For an unknown name.
    """
    if name.startswith(ACCURACY) and len(name) > len(ACCURACY):
        return Figure(name, "", f"accuracy in {name.removeprefix(ACCURACY)}", "task", maximize=True)
    if name not in FIGURES:
        raise InputError(
            f"{what} must be one of {', '.join(FIGURES)} or {ACCURACY}TASK, not {name!r}{nearest(name, FIGURES)}"
        )
    return FIGURES[name]


def check_bounds(objectives: Sequence[str], constraints: Mapping[str, float], platform: Platform) -> None:
    """Raise an InputError for objectives or bounds that are unknown, impossible, or not known of a platform."""
    if not objectives or len(set(objectives)) != len(objectives):
        raise InputError(f"objectives must be a list of different names, not {list(objectives)!r}")
    for what, names in (("objective", objectives), ("constraint", constraints)):
        for name in names:
            figure_of(name, what)
            if name in _ENERGIES and not platform.has_energy:
                raise InputError(
                    f"{what} {name!r} needs the energy of platform {platform.name!r}, which is unknown; "
                    "choose cycles, area or bits, or an ASIC platform"
                )
            if name in ("lut", "ff", "dsp", "bram") and platform.kind == "asic":
                raise InputError(f"{what} {name!r}: platform {platform.name!r} is an ASIC and has none; choose area")
    for name, limit in constraints.items():
        if not isfinite(limit) or limit <= 0:
            raise InputError(f"constraint {name!r} must be a positive number, not {limit!r}")


def plan_figures(hardware: Mapping[str, Any] | None, ledger: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures of the totals of a hardware report (None without hardware) and of a ledger."""
    found = {"bits": ledger["bits_per_weight"], "input_bits": ledger["bits_per_input"]}
    if hardware is not None:
        resources = hardware["resources"]
        found |= {name: resources[name] for name in ("lut", "ff", "dsp", "bram") if name in resources}
        found |= {
            "cycles": hardware["interval"],
            "area": resources.get("area", resources.get("lut")),
            "memory": hardware.get("memory_bits"),
            "energy": hardware["energy"],
            "edp": hardware["edp"],
        }
    return {name: float(value) for name, value in found.items() if value is not None}


def violations(figures: Mapping[str, float], constraints: Mapping[str, float]) -> dict[str, float]:
    """Return by how much bounds are broken, relative to each; those of figures that are not known yet are left out."""
    found = {}
    for name, limit in constraints.items():
        if name in figures:
            over = limit - figures[name] if figure_of(name, "constraint").maximize else figures[name] - limit
            if over > 0:
                found[name] = over / limit
    return found
