"""The main job: capture ▸ calibrate ▸ search ▸ score ▸ emit ▸ co-simulate ▸ report.

Nothing is written before everything that the config names has been checked. The search continues from `study.db` if
the folder has one of the same search; the other stages are quick and run again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Literal

import mxhw
from mxhw.errors import InputError
from mxhw.flow.config import Config, write_config
from mxhw.flow.prepare import Prepared, prepare
from mxhw.flow.rows import assignment_file, design, family, point, quality_row
from mxhw.flow.rtl import RtlStage
from mxhw.flow.search import run_search, write_results
from mxhw.ir import Assignment
from mxhw.passes.analysis import Evaluate, EvaluateConfig, Evaluation, QualityEvaluator
from mxhw.passes.analysis.evaluate import AnyArithmetic
from mxhw.passes.search import EMULATED, Choice, Figure, SearchResult, choose
from mxhw.passes.transform import WeightCache
from mxhw.passes.transform.lower import Ranges
from mxhw.progress import Progress, SilentProgress
from mxhw.report import write_front, write_report
from mxhw.report.results import CHOSEN, Design, DesignPoint, Results, save_results
from mxhw.sim.cosim import CosimReport, run_cosim

__all__ = ["Codesign", "codesign"]

FRONT_SCORED = 5  # designs of the front, at most, that are scored on the test text beside the picked ones


def codesign(config: Config, out: Path, *, command: str = "", progress: Progress | None = None) -> Results:
    """Run the whole chain and leave its results in `out`.

    Parameters
    ----------
    config : Config
    out : Path
        Gets config.toml, study.db, search.json, search.html, search-front.svg, assignment.json, rtl/, cosim.json,
        results.json, report.html and front.svg.
    command : str
        What a person types to get this run again; shown in the report.

    Raises
    ------
    InputError
        If something that the config names is wrong; nothing has been written then.
    """
    return Codesign(config, out, command, progress or SilentProgress()).run()


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
        if EMULATED in self.config.search.families:
            raise InputError(
                f"[search] families: {EMULATED!r} has no hardware unit, so there is no RTL to emit and simulate; "
                "search it with `mxhw search`"
            )
        with self._stage("capture"):
            prepared = prepare(self.config, self.progress)
            rtl = RtlStage(prepared, self.cache, self.progress)
            rtl.check()
        with self._stage("search"):
            searched = run_search(prepared, self.out / "study.db", cache=self.cache, progress=self.progress)
            found, search_text = searched.result, searched.problem.evaluator
        write_config(self.config, self.out / "config.toml")
        write_results(prepared, searched, self.out, command=self.command, seconds=self.seconds["search"])
        with self._stage("score"):
            test_text = QualityEvaluator(prepared.graph, prepared.test, bytes_per_token=prepared.loaded.bytes_per_token)
            picked = self._pick(found, search_text, figures=searched.problem.figures)
            points = self._points(prepared, found, picked, test_text)
            designs = self._designs(prepared, picked, points, test_text, rtl)
        with self._stage("emit"):
            designs = rtl.emit(designs, {name: found.record.assignment for name, found in picked.items()}, self.out)
        with self._stage("co-simulate"):
            stall = self.config.emit.stall
            cosim = run_cosim(self.out, seed=self.config.seed, stall=stall, progress=self.progress)
        with self._stage("report"):
            results = self._results(prepared, points, designs, cosim, search_text, test_text)
            write_front(results, self.out / "front.svg")
            write_report(results, self.out / "report.html")
        save_results(results, self.out)
        return results

    def _pick(self, found: SearchResult, search_text: QualityEvaluator, figures: Sequence[Figure]) -> dict[str, Choice]:
        """Return the chosen design, and the best of every other family under the same rule; save both.

        They are of those designs all of whose products have RTL, where there is one.
        """
        built = [record for record in found.records if record.outcome["hardware"]["mac_coverage"] == 1] or found.records
        reference, most = search_text.reference().perplexity, self.config.search.max_perplexity_increase
        picked = {CHOSEN: choose(built, reference, most, figures)}
        for other in self.config.search.families:
            records = [record for record in built if family(record) == other]
            if records and other != family(picked[CHOSEN].record):
                picked[other] = choose(records, reference, most, figures)
        for name, choice in picked.items():
            choice.record.assignment.save(self.out / assignment_file(name))
        return picked

    def _evaluation(
        self,
        prepared: Prepared,
        assignment: Assignment,
        text: QualityEvaluator,
        arithmetic: AnyArithmetic,
        ranges: Ranges | None = None,
    ) -> Evaluation:
        config = EvaluateConfig(assignment=assignment, arithmetic=arithmetic, ranges=ranges)
        return Evaluate(config, text, self.cache).evaluation(prepared.graph)

    def _points(
        self, prepared: Prepared, found: SearchResult, picked: Mapping[str, Choice], text: QualityEvaluator
    ) -> tuple[DesignPoint, ...]:
        """Return every trial; the picked ones and the front (evenly thinned if long) scored on the test text."""
        front = [record.number for record in found.front]
        scored = _evenly(front, FRONT_SCORED) | {choice.record.number for choice in picked.values()}
        points = []
        with self.progress.task("score the front", len(scored)) as task:
            for record in found.records:
                test = None
                if record.number in scored:
                    test = quality_row(self._evaluation(prepared, record.assignment, text, "float").quality)
                    task.advance()
                points.append(point(record, on_front=record.number in front, test=test))
        return tuple(points)

    def _designs(
        self,
        prepared: Prepared,
        picked: Mapping[str, Choice],
        points: tuple[DesignPoint, ...],
        text: QualityEvaluator,
        rtl: RtlStage,
    ) -> tuple[Design, ...]:
        """Return the picked designs with their quality in the arithmetic of the RTL."""
        emulated = {point.trial: point.test for point in points if point.test is not None}
        arithmetic: Literal["integer", "hardware"] = "integer" if rtl.has_whole_model else "hardware"
        ranges = rtl.ranges if rtl.has_whole_model else None
        designs = []
        with self.progress.task(f"{arithmetic} arithmetic", len(picked)) as task:
            for name, choice in picked.items():
                exact = self._evaluation(prepared, choice.record.assignment, text, arithmetic, ranges)
                hardware, coverage = quality_row(exact.quality), float(exact.quantization.get("mac_coverage", 1.0))
                point = emulated[choice.record.number]
                designs.append(design(prepared, name, choice, point, hardware, coverage, arithmetic))
                task.advance()
        return tuple(designs)

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
            float_test=quality_row(test_text.reference()),
            float_search=quality_row(search_text.reference()),
            points=points,
            designs=designs,
            cosim=cosim.to_json(),
            seconds=dict(self.seconds),
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[name] = perf_counter() - start


def _evenly(items: list[int], most: int) -> set[int]:
    """Return at most `most` items, evenly spread, both ends among them."""
    if len(items) <= most:
        return set(items)
    return {items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)}
