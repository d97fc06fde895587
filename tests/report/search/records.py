"""Records of searches drawn at random: valid ones of every shape, from plain values, as a search makes them."""

from __future__ import annotations

from random import Random
from typing import Any

from mxhw.ir import Assignment
from mxhw.report.search import SearchReport, search_report

__all__ = ["drawn_record", "drawn_values"]

FORMATS = ("bitmod3", "bitmod4", "int6-g128-s8", "mxfp4")
SITES = [
    *(f"model.layers.{layer}.{part}:{operand}" for layer in range(3) for part, operand in (
        ("self_attn.q_proj", "weight"), ("self_attn.q_proj", "input"), ("self_attn.qk", "lhs"), ("self_attn.qk", "rhs"),
        ("self_attn.pv", "cache"))),
    "lm_head:weight",
]  # fmt: skip
OBJECTIVES = [
    {"name": "kl", "unit": "nats/token"},
    {"name": "edp", "unit": "pJ s"},
    {"name": "throughput", "unit": "tokens/s", "direction": "maximize"},
]
SOURCES = ("uniform", "milp", "tpe", "of a user's own")


def drawn_values(seed: int, *, objectives: int = 2, trials: int = 40, chosen: bool = True) -> dict[str, Any]:
    """Return arguments of :func:`search_report`: trials of every state, with the front by definition."""
    draw = Random(seed)
    aims = OBJECTIVES[:objectives]
    rows = [_trial(draw, number, aims) for number in range(trials)]
    losses = {
        row["number"]: [v if a.get("direction") != "maximize" else -v for v, a in zip(row["values"], aims, strict=True)]
        for row in rows
        if row["state"] == "complete"
    }
    front = [n for n, mine in losses.items() if not any(_beats(theirs, mine) for theirs in losses.values())]
    grown, volume = 0.0, []
    for _ in rows:
        grown += draw.random() if draw.random() < 0.3 else 0.0
        volume.append(grown)
    units = [f"layers.{i}:weight" for i in range(6)]

    def losses_of_unit() -> dict[str, float]:
        return {name: draw.uniform(-0.1, 1) * 10 ** draw.uniform(-6, 0) for name in FORMATS}

    tables = [
        {"metric": metric, "units": units, "candidates": FORMATS, "spearman": draw.random(), "kendall": None,
         "losses": {unit: losses_of_unit() for unit in units}}
        for metric in ("kl", "taylor")
    ]  # fmt: skip
    return {
        "model": "demo",
        "objectives": aims,
        "trials": rows,
        "front": front,
        "chosen": (front[len(front) // 2], "least edp within 2 %") if chosen else None,
        "command": "mxhw search examples/demo.toml",
        "config": {"seed": seed},
        "fingerprint": {"weights": "0123abcd"},
        "constraints": {"area": (1.0e6, "<="), "agreement": (0.5, ">=")},
        "units": {"area": "um2"},
        "reference": [1.0, 1.0e7, 0.0][:objectives],
        "hypervolume": volume,
        "sensitivity": tables,
        "importance": {aim["name"]: {f"p{i}": draw.random() for i in range(30)} for aim in aims},
        "comparison": {"strategies": [_strategy(draw, name) for name in ("random", "tpe", "hybrid")], "best_of": "kl"},
        "seconds": {"capture": 3.5, "search": 61.25},
    }


def drawn_record(seed: int, **sizes: Any) -> SearchReport:
    """Return the record of :func:`drawn_values`."""
    return search_report(**drawn_values(seed, **sizes))


def _trial(draw: Random, number: int, aims: list[dict[str, Any]]) -> dict[str, Any]:
    state = draw.choices(("complete", "infeasible", "stopped"), (5, 3, 2))[0]
    if number < 4:
        state = "complete"
    formats = {site: draw.choice(FORMATS) for site in SITES}
    values = [draw.uniform(0.01, 1), draw.uniform(1e5, 1e7), draw.uniform(1, 100)][: len(aims)]
    row: dict[str, Any] = {
        "number": number, "state": state, "source": draw.choice(SOURCES), "values": values,
        "figures": {"area": draw.uniform(1e5, 1e6), "agreement": draw.uniform(0.5, 1)},
        "parameters": {"rows": draw.choice((4, 8))}, "seconds": draw.random(), "worker": f"host/{draw.randrange(3)}",
        "assignment": Assignment("demo", formats, notes={"family": "bitmod"}).to_json(),
    }  # fmt: skip
    if state == "infeasible":
        beyond = draw.uniform(0.1, 1)
        return row | {"values": [], "figures": {"area": 1e6 * (1 + beyond)}, "violations": {"area": beyond},
                      "reason": "needs more area"}  # fmt: skip
    return (
        row if state == "complete" else row | {"values": [values[0], *[None] * (len(aims) - 1)], "reason": "given up"}
    )


def _strategy(draw: Random, name: str) -> dict[str, Any]:
    curves = []
    for seed in range(5):
        number = draw.randrange(1, 30)
        steps = sorted(draw.random() for _ in range(number))
        curves.append({
            "seed": seed, "trials": sorted(draw.sample(range(1, 61), number)), "hypervolume": steps,
            "seconds": sorted(draw.uniform(0, 100) for _ in range(number)), "best": draw.random() if seed else None,
        })  # fmt: skip
    return {"name": name, "curves": curves}


def _beats(a: list[float], b: list[float]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))
