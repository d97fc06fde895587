"""Cycles of prefill and decoding that a machine predicts against those of emitted language models.

    python bench/validation/machine.py [--rtl] [--json FILE]

Small random models of several families, folded, are lowered and planned as `mxhw emit --lm` does it, with weights
inside and behind a port. What the machine predicts of the same units, from records alone, stands beside what the design
takes: by its timed graph, which equals the RTL in every test (`tests/flow/test_language.py`, `test_weight_port.py`);
with ``--rtl`` by simulation with Verilator, a build a row.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the models are those of the tests

from mxhw.flow.language import LanguageSettings, emit_lowered, lower_language  # noqa: E402
from mxhw.hardware.machine.parts import parts_of  # noqa: E402
from mxhw.hardware.machine.port import Port  # noqa: E402
from mxhw.hardware.machine.timing import Pipeline  # noqa: E402
from mxhw.hardware.structure import BlockUse, Design, ModelDesign  # noqa: E402
from mxhw.passes.emit.dataflow.costed import design_of  # noqa: E402
from mxhw.passes.emit.dataflow.place import Placed, place_graph  # noqa: E402
from mxhw.passes.emit.language import language_cycles, plan_language, with_shares  # noqa: E402
from mxhw.passes.emit.language.tokens import pass_tokens  # noqa: E402
from mxhw.passes.transform.fold import CONTROL, LanguageGraph, greedy, with_weight_port  # noqa: E402
from mxhw.sim.language import simulate_phases  # noqa: E402
from tests.passes.transform.fold.models import FORMATS  # noqa: E402
from tests.passes.transform.lower.families import Lowered  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is emitted, and asked.

    Attributes
    ----------
    family, formats : of the model.
    changes : of its configuration.
    chunk, port : of the design; bits, None for weights inside.
    prompt, tokens, batch : tokens of a prompt, steps behind it, sequences.
    """

    family: str = "mistral"
    formats: str = "bitmod"
    changes: tuple[tuple[str, int], ...] = ()
    chunk: int = 4
    port: int | None = None
    prompt: int = 8
    tokens: int = 4
    batch: int = 1


@dataclass(frozen=True)
class Row:
    """A phase of a case: cycles that the machine predicts, and that the design takes."""

    case: Case
    phase: str
    predicted: float
    taken: int

    @property
    def error(self) -> float:
        """Relative, of the prediction."""
        return self.predicted / self.taken - 1


_LAYERS = (("num_hidden_layers", 3),)
_WIDE = (("hidden_size", 64), ("intermediate_size", 160), ("num_hidden_layers", 4))
CASES = [
    *(Case(chunk=chunk, prompt=prompt) for chunk, prompt in ((1, 8), (4, 8), (4, 18), (16, 18))),
    *(Case(family=family, formats=formats) for family in ("qwen2", "gpt2") for formats in FORMATS),
    *(Case(changes=_WIDE, formats=formats, chunk=8, prompt=16) for formats in FORMATS),
    Case(changes=_LAYERS, chunk=4, prompt=8, batch=2),
    Case(changes=_LAYERS, chunk=1, prompt=6, batch=2),
    *(Case(changes=_LAYERS, port=port, chunk=chunk) for port in (32, 128, 512) for chunk in (1, 8)),
    *(Case(changes=_WIDE, port=port, formats="dialect", chunk=8, prompt=16) for port in (32, 256)),
    Case(changes=_LAYERS, port=64, chunk=8, prompt=8, batch=2),
]
SEEN = CASES[1], CASES[8], CASES[13]  # that are simulated


def rows(cases: list[Case], *, rtl: bool = False) -> Iterator[Row]:
    """Yield two rows a case."""
    for case in cases:
        made = _model(case.family, case.changes, case.formats)
        keys = case.prompt + case.tokens + 1
        settings = LanguageSettings(
            keys=keys, sequences=case.batch, chunk=case.chunk, tokens=case.tokens + 1, weight_port=case.port
        )
        graph = lower_language(made.graph, made.assignment, made.ranges, settings)
        prompts = [made.tokens[i, : case.prompt] for i in range(case.batch)]
        taken = _simulated(made, graph, prompts, settings) if rtl else None
        graph, placed, depths = _planned(graph, case.port)
        if taken is None:
            asked = greedy(graph, prompts, settings.tokens).requests
            cycles = language_cycles(graph, placed, depths, asked, pass_tokens(graph, asked), case.batch)
            taken = cycles.prefill, cycles.total - cycles.prefill
        pipeline = pipeline_of(graph, placed, depths, case.port)
        prefill = pipeline.prefill(case.prompt, case.batch)
        decode = pipeline.decode(case.prompt, case.tokens, case.batch, prefill.idle)
        yield Row(case, "prefill", prefill.cycles, taken[0])
        yield Row(case, "decode", decode.cycles, taken[1])


@cache
def _model(family: str, changes: tuple[tuple[str, int], ...], formats: str) -> Lowered:
    return Lowered(family, changes, FORMATS[formats])


def pipeline_of(graph: LanguageGraph, placed: Mapping[str, Placed], depths: Any, port: int | None) -> Pipeline:
    """Return the machine's timing of an emitted design: its units by records, its control left out."""
    whole = design_of(graph, placed, depths)
    designs = [_part(whole, graph, domain) for domain in ("requests", "passes", "logits")]
    layers = tuple(str(layer) for layer in range(graph.layers))
    model = ModelDesign(designs[0], (BlockUse(designs[1], layers),), designs[2], graph.folded)
    outside = None if port is None else Port(port, float(port))
    front, block, back = parts_of(model, outside, graph.positions_room)
    return Pipeline(front=front, blocks=(block,), back=back, folded=graph.folded, chunk=graph.chunk)


def _part(whole: Design, graph: LanguageGraph, domain: str) -> Design:
    """Return the steps of a domain without control: what they read of others are inputs."""
    kept = [name for name, step in graph.steps.items() if graph.domains[name] == domain and step.node != CONTROL]
    steps = {name: whole.steps[name] for name in kept}
    inputs = {
        source: whole.steps[source].lanes_out if source in whole.steps else whole.inputs[source]
        for step in steps.values()
        for source in step.inputs
        if source not in steps
    }
    read = {source for step in steps.values() for source in step.inputs}
    return Design(inputs, steps, tuple(name for name in steps if name not in read), whole.fifos)


def _planned(graph: LanguageGraph, port: int | None) -> tuple[LanguageGraph, dict[str, Placed], Any]:
    plan = plan_language(graph if port is None else with_weight_port(graph, port))
    if port is not None:
        graph = with_shares(graph, port, plan.parallelism)
    return graph, place_graph(graph, plan.parallelism), plan.depths


def _simulated(made: Lowered, graph: LanguageGraph, prompts: Any, settings: LanguageSettings) -> tuple[int, int]:
    """Return the cycles of prefill and decoding in Verilator."""
    with tempfile.TemporaryDirectory() as folder:
        part = emit_lowered(graph, made.graph, made.assignment, prompts, Path(folder) / "design", settings)
        phases = simulate_phases(part.emitted.folder, part.emitted.design)
    prefill, decode = (phase.cycles for phase in phases)
    return prefill, decode


def table(found: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| model | port | chunk | batch | phase | predicted | taken | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        case = row.case
        sizes = ", ".join(f"{name} {value}" for name, value in case.changes)
        name = f"{case.family}, {case.formats}{f' ({sizes})' if sizes else ''}"
        lines.append(
            f"| {name} | {case.port or 'inside'} | {case.chunk} | {case.batch} | {row.phase} | "
            f"{row.predicted:,.0f} | {row.taken:,} | {row.error:+.3%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table, and the largest errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtl", action="store_true", help="simulate some of the designs with Verilator")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    given = parser.parse_args()
    found = list(rows(list(SEEN) if given.rtl else CASES, rtl=given.rtl))
    print(table(found))
    for title, ported in (("inside", False), ("through a port", True)):
        for phase in ("prefill", "decode"):
            errors = [abs(row.error) for row in found if row.phase == phase and (row.case.port is not None) == ported]
            print(f"weights {title}, {phase}: {len(errors)} designs, largest error {max(errors, default=0):.3%}")
    if given.json:
        given.json.write_text(json.dumps([{**asdict(row), "error": row.error} for row in found], indent=1) + "\n")


if __name__ == "__main__":
    main()
