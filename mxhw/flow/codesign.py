"""The main job: capture ▸ calibrate ▸ search ▸ score ▸ emit ▸ co-simulate ▸ report.

Nothing is written before everything that the config names has been checked. The search continues from `study.db` if
the folder has one of the same search; the other stages are quick and run again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import mxhw
from mxhw.flow.config import Config, write_config
from mxhw.flow.prepare import Prepared, prepare
from mxhw.ir import Assignment
from mxhw.passes import Pipeline
from mxhw.passes.analysis import Calibrate, CalibrateConfig, Quality, QualityEvaluator, evaluate_hardware
from mxhw.passes.analysis.ledger import site_bits
from mxhw.passes.analysis.sensitivity import Sensitivity, SensitivityConfig, sensitivities
from mxhw.passes.emit import EmitLayers, EmitLayersConfig, emittable
from mxhw.passes.search import Choice, Problem, SearchConfig, SearchResult, TrialRecord, choose, search
from mxhw.passes.transform import Quantize, QuantizeConfig, WeightCache
from mxhw.progress import Progress, SilentProgress
from mxhw.report import write_front, write_report
from mxhw.report.results import CHOSEN, Design, DesignPoint, NodeRow, QualityRow, Results, save_results
from mxhw.sim.cosim import CosimReport, run_cosim

__all__ = ["Codesign", "codesign", "run_search"]

FRONT_SCORED = 8  # designs of the front, at most, that are scored on the test text


def codesign(config: Config, out: Path, *, command: str = "", progress: Progress | None = None) -> Results:
    """Run the whole chain and leave its results in `out`.

    Parameters
    ----------
    config : Config
    out : Path
        Gets config.toml, study.db, assignment.json, rtl/, cosim.json, results.json, report.html and front.svg.
    command : str
        What a person types to get this run again; shown in the report.

    Raises
    ------
    InputError
        If something that the config names is wrong; nothing has been written then.
    """
    return Codesign(config, out, command, progress or SilentProgress()).run()


def run_search(
    prepared: Prepared, path: Path | None, cache: WeightCache, progress: Progress
) -> tuple[SearchResult, QualityEvaluator]:
    """Calibrate, measure sensitivities, and search; the evaluator is the one of the search text."""
    config = prepared.config
    evaluator = QualityEvaluator(prepared.graph, prepared.search, bytes_per_token=prepared.bytes_per_token, batch=4)
    problem = Problem(
        prepared.graph,
        evaluator,
        prepared.platform,
        config.platform.sequence,
        config.search.objective,
        config.search.quality,
        cache,
    )
    narrow = (
        config.search.bitmod_weights[-1] if "bitmod" in config.search.families else config.search.dialect_weights[0]
    )
    analyses = Pipeline(
        [
            Calibrate(CalibrateConfig(windows=prepared.calibration), progress),
            Sensitivity(SensitivityConfig(format=narrow), evaluator, cache, progress),
        ]
    )
    graph = analyses(prepared.graph).graph
    settings = SearchConfig(
        trials=config.search.trials,
        sampler=config.search.sampler,
        seed=config.seed,
        max_perplexity_increase=config.search.max_perplexity_increase,
    )
    found = search(problem, prepared.space, settings, path=path, sensitivity=sensitivities(graph), progress=progress)
    return found, evaluator


@dataclass
class Codesign:
    """One run; :meth:`run` does all of it."""

    config: Config
    out: Path
    command: str
    progress: Progress
    cache: WeightCache = field(default_factory=WeightCache)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> Results:
        """Return the results, after writing them."""
        with self._stage("capture"):
            prepared = prepare(self.config, self.progress)
        with self._stage("search"):
            found, search_text = run_search(prepared, self.out / "study.db", self.cache, self.progress)
        write_config(self.config, self.out / "config.toml")
        with self._stage("score"):
            test_text = self._evaluator(prepared)
            picked = self._picked(found, search_text)
            points = self._points(prepared, found, test_text)
            designs = self._designs(prepared, picked, test_text)
        with self._stage("emit"):
            layers = self._emit(prepared, picked)
        with self._stage("co-simulate"):
            cosim = self._simulate(layers)
        with self._stage("report"):
            results = self._results(prepared, points, designs, cosim, search_text, test_text)
            self._write(results)
        return results

    def _evaluator(self, prepared: Prepared) -> QualityEvaluator:
        return QualityEvaluator(
            prepared.graph, prepared.test, bytes_per_token=prepared.bytes_per_token, batch=4, progress=self.progress
        )

    def _picked(self, found: SearchResult, search_text: QualityEvaluator) -> dict[str, Choice]:
        """Return the chosen design, and the best of every other family under the same rule."""
        reference = search_text.reference().perplexity
        picked = {CHOSEN: found.choice}
        for family in self.config.search.families:
            records = [record for record in found.records if _family(record) == family]
            if records and family != _family(found.choice.record):
                picked[family] = choose(records, reference, self.config.search.max_perplexity_increase)
        for name, choice in picked.items():
            choice.record.assignment.save(
                self.out / ("assignment.json" if name == CHOSEN else f"assignment-{name}.json")
            )
        return picked

    def _points(self, prepared: Prepared, found: SearchResult, test_text: QualityEvaluator) -> tuple[DesignPoint, ...]:
        front = {record.number for record in found.front}
        scored = _evenly([record.number for record in found.front], FRONT_SCORED)
        tests: dict[int, QualityRow] = {}
        with self.progress.task("score the front", len(scored)) as task:
            for record in found.records:
                if record.number in scored:
                    tests[record.number] = _row(test_text(self._quantized(prepared, record.assignment)))
                    task.advance()
        return tuple(
            _point(record, record.number in front, tests.get(record.number), self._area) for record in found.records
        )

    def _quantized(self, prepared: Prepared, assignment: Assignment) -> Any:
        return Quantize(QuantizeConfig(assignment=assignment), self.cache)(prepared.graph).graph

    def _area(self, resources: Mapping[str, float]) -> float:
        return float(resources["area"] if "area" in resources else resources["lut"])

    def _designs(
        self, prepared: Prepared, picked: Mapping[str, Choice], test_text: QualityEvaluator
    ) -> tuple[Design, ...]:
        designs = []
        with self.progress.task("hardware arithmetic", 2 * len(picked)) as task:
            for name, choice in picked.items():
                assignment = choice.record.assignment
                emulated = test_text(self._quantized(prepared, assignment))
                task.advance()
                exact = Quantize(QuantizeConfig(assignment=assignment, arithmetic="hardware"), self.cache)(
                    prepared.graph
                )
                hardware = test_text(exact.graph)
                task.advance()
                coverage = float(exact.report["mac_coverage"])
                designs.append(self._design(prepared, name, choice, _row(emulated), _row(hardware), coverage))
        return tuple(designs)

    def _design(
        self, prepared: Prepared, name: str, choice: Choice, emulated: QualityRow, hardware: QualityRow, coverage: float
    ) -> Design:
        record, assignment = choice.record, choice.record.assignment
        cost = evaluate_hardware(prepared.graph, assignment, prepared.platform, self.config.platform.sequence)
        asic = prepared.platform.kind == "asic"
        return Design(
            name=name,
            family=_family(record),
            trial=record.number,
            reason=choice.reason,
            assignment="assignment.json" if name == CHOSEN else f"assignment-{name}.json",
            emulated=emulated,
            hardware=hardware,
            hardware_coverage=coverage,
            weight_bits=record.outcome["ledger"]["bits_per_weight"],
            input_bits=record.outcome["ledger"]["bits_per_input"],
            cycles=cost.cycles,
            interval=cost.interval,
            area=self._area(cost.resources),
            area_unit="µm²" if asic else "LUT",
            energy=cost.energy,
            nodes=tuple(self._node(prepared, assignment, node, dict(values)) for node, values in cost.nodes.items()),
        )

    def _node(self, prepared: Prepared, assignment: Assignment, name: str, values: dict[str, Any]) -> NodeRow:
        info = prepared.graph.nodes[name]
        sequence = self.config.platform.sequence
        bits = {}
        for site in info.sites:
            stored, elements = site_bits(prepared.graph, site, assignment, 1, sequence)
            bits[site.operand] = stored / elements
        energy = values["energy"]
        parts = ({**values["logic"], **values["memory"]}) if prepared.platform.kind == "asic" else values["logic"]
        return NodeRow(
            node=name,
            op=info.op,
            unit=values["unit"],
            formats={
                site.operand: assignment.formats[site.key] for site in info.sites if site.key in assignment.formats
            },
            bits=bits,
            array=(values["rows"], values["columns"]),
            macs=values["macs"],
            cycles=values["cycles"],
            area=sum(parts.values()),
            energy=None if energy is None else sum(energy.values()),
        )

    def _emit(self, prepared: Prepared, picked: Mapping[str, Choice]) -> dict[str, list[str]]:
        """Write the RTL of the layers to simulate, each design in a folder of its family; return its nodes."""
        rtl = self.out / "rtl"
        beside = self.out / ".rtl.new"
        shutil.rmtree(beside, ignore_errors=True)
        nodes: dict[str, list[str]] = {}
        for choice in picked.values():
            assignment = choice.record.assignment
            family = _family(choice.record)
            nodes[family] = self._layers(prepared, assignment)
            emit = EmitLayers(
                EmitLayersConfig(
                    assignment=assignment,
                    tokens=prepared.test[:1, : max(self.config.emit.tokens, 2)],
                    folder=beside / family,
                    nodes=nodes[family],
                    rows=self.config.emit.tokens,
                ),
                self.progress,
            )
            emit(prepared.graph)
        shutil.rmtree(rtl, ignore_errors=True)
        beside.rename(rtl)
        return nodes

    def _layers(self, prepared: Prepared, assignment: Assignment) -> list[str]:
        """Return the layers to emit: as many weight formats as there are, and of each the layer with most cycles."""
        cost = evaluate_hardware(prepared.graph, assignment, prepared.platform, self.config.platform.sequence)
        left = sorted(emittable(prepared.graph, assignment), key=lambda node: (-cost.nodes[node]["cycles"], node))
        taken: list[str] = []
        while left and len(taken) < self.config.emit.layers:
            seen = {assignment.formats[f"{node}:weight"] for node in taken}
            fresh = [node for node in left if assignment.formats[f"{node}:weight"] not in seen]
            taken.append((fresh or left)[0])
            left.remove(taken[-1])
        return taken

    def _simulate(self, layers: Mapping[str, list[str]]) -> CosimReport:
        return run_cosim(self.out, seed=self.config.seed, stall=self.config.emit.stall, progress=self.progress)

    def _results(
        self,
        prepared: Prepared,
        points: tuple[DesignPoint, ...],
        designs: tuple[Design, ...],
        cosim: CosimReport,
        search_text: QualityEvaluator,
        test_text: QualityEvaluator,
    ) -> Results:
        return Results(
            mxhw=mxhw.__version__,
            command=self.command,
            config=self.config.model_dump(mode="json"),
            model=self.config.model,
            parameters=prepared.parameters,
            platform=prepared.platform.name,
            float_test=_row(test_text.reference()),
            float_search=_row(search_text.reference()),
            points=points,
            designs=designs,
            cosim=cosim.to_json(),
            seconds=dict(self.seconds),
        )

    def _write(self, results: Results) -> None:
        save_results(results, self.out)
        write_front(results, self.out / "front.svg")
        write_report(results, self.out / "report.html")

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[name] = perf_counter() - start


def _family(record: TrialRecord) -> str:
    return str(record.assignment.notes["family"])


def _row(quality: Quality) -> QualityRow:
    return QualityRow(
        perplexity=quality.perplexity,
        kl=quality.kl,
        top1=quality.agreement,
        tokens=quality.tokens,
        bits_per_byte=quality.bits_per_byte,
    )


def _point(
    record: TrialRecord, on_front: bool, test: QualityRow | None, area: Callable[[Mapping[str, float]], float]
) -> DesignPoint:
    outcome, assignment = record.outcome, record.assignment
    hardware = outcome["hardware"]
    return DesignPoint(
        trial=record.number,
        label=_label(assignment),
        family=_family(record),
        rows=assignment.notes["rows"],
        quality=_row(Quality(**outcome["quality"])),
        weight_bits=outcome["ledger"]["bits_per_weight"],
        input_bits=outcome["ledger"]["bits_per_input"],
        cycles=hardware["cycles"],
        interval=hardware["interval"],
        area=area(hardware["resources"]),
        energy=hardware["energy"],
        on_front=on_front,
        test=test,
    )


def _label(assignment: Assignment) -> str:
    """Return the weight formats of a design with how many layers have each, and its rows."""
    counts: dict[str, int] = {}
    for key, name in assignment.formats.items():
        if key.endswith(":weight"):
            counts[name] = counts.get(name, 0) + 1
    kinds = ", ".join(name if len(counts) == 1 else f"{count}× {name}" for name, count in sorted(counts.items()))
    return f"{kinds}; {assignment.notes['rows']} rows"


def _evenly(items: list[int], most: int) -> set[int]:
    """Return at most `most` items, evenly spread, both ends among them."""
    if len(items) <= most:
        return set(items)
    return {items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)}
