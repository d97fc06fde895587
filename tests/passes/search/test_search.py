"""A search is deterministic, survives being killed, continues where it was, and refuses the wrong file."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import Evaluate, EvaluateConfig, HardwareCosts, evaluate_hardware
from mxhw.passes.analysis.sensitivity import SensitivityTable
from mxhw.passes.search import Search, SearchConfig, SearchResult, search
from mxhw.passes.search.proposals import uniform_designs
from mxhw.passes.search.strategies import STRATEGIES
from tests.passes.search.tiny import TOKENS, tiny_graph, tiny_problem, tiny_search, tiny_space


@pytest.fixture(scope="module")
def graph() -> Graph:
    return tiny_graph()


@pytest.fixture(scope="module")
def through(graph: Graph) -> SearchResult:
    """Return a search that ran without interruption."""
    return tiny_search(graph, None, 16)


def trace(result: SearchResult) -> list[tuple]:
    return [(record.number, record.parameters, record.values) for record in result.records]


def test_same_seed_same_trials(graph: Graph, through: SearchResult) -> None:
    assert trace(tiny_search(graph, None, 16)) == trace(through)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "tpe"])
def test_other_strategies_are_deterministic_too(graph: Graph, through: SearchResult, strategy: str) -> None:
    once = tiny_search(graph, None, 14, strategy)
    assert trace(tiny_search(graph, None, 14, strategy)) == trace(once)
    assert trace(once) != trace(through)[:14]


def test_other_seed_other_trials(graph: Graph, through: SearchResult) -> None:
    assert trace(tiny_search(graph, None, 16, seed=1)) != trace(through)


def test_resumed_equals_uninterrupted(graph: Graph, through: SearchResult, tmp_path: Path) -> None:
    for total in (3, 13, 16, 16):
        result = tiny_search(graph, tmp_path / "study.db", total)
        assert trace(result) == trace(through)[:total]


def test_resumed_search_keeps_the_seed_designs_it_began_with(graph: Graph, through: SearchResult, tmp_path) -> None:
    tiny_search(graph, tmp_path / "study.db", 2)
    path = tmp_path / "hybrid.db"
    tiny_search(graph, path, 3, "hybrid")

    def another() -> SensitivityTable:
        raise AssertionError("a study that has begun knows its sensitivities")

    settings = SearchConfig(trials=14, strategy="hybrid")
    resumed = search(tiny_problem(graph), tiny_space(graph), settings, where=path, table=another)
    assert len(resumed.trials) == 14
    tiny_search(graph, tmp_path / "study.db", 2)
    assert trace(tiny_search(graph, tmp_path / "study.db", 16)) == trace(through)


def test_killed_search_keeps_its_trials_and_continues(graph: Graph, through: SearchResult, tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.passes.search.tiny", str(path), "1000"]
    process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[3])
    try:
        deadline = time.monotonic() + 120
        while finished(path) < 4:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = finished(path)
    leave_running(path)
    result = tiny_search(graph, path, max(16, kept))
    assert trace(result)[:16] == trace(through)
    assert states(path).get("RUNNING", 0) == 0
    assert states(path)["FAIL"] >= 1


def finished(path: Path) -> int:
    return states(path).get("COMPLETE", 0)


def states(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return dict(connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state"))
    except sqlite3.OperationalError:
        return {}
    finally:
        connection.close()


def leave_running(path: Path) -> None:
    """Leave a trial in the state that a killed process leaves it in, wherever the kill above happened to fall."""
    study = optuna.load_study(study_name="mxhw", storage=f"sqlite:///{path}")
    study.ask()


def test_an_interrupt_keeps_finished_trials(graph: Graph, through: SearchResult, tmp_path: Path, monkeypatch) -> None:
    problem = tiny_problem(graph)
    calls = []
    outcome = problem.outcome

    def interrupted(planned, seen):
        calls.append(planned)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return outcome(planned, seen)

    monkeypatch.setattr(problem, "outcome", interrupted)
    with pytest.raises(KeyboardInterrupt):
        search(problem, tiny_space(graph), SearchConfig(trials=16, strategy="tpe"), where=tmp_path / "study.db")
    assert finished(tmp_path / "study.db") == 5
    assert trace(tiny_search(graph, tmp_path / "study.db", 16)) == trace(through)


def test_records_hold_what_reports_need(graph: Graph, through: SearchResult) -> None:
    problem = tiny_problem(graph)
    for record in (through.front[0], through.choice.record, through.records[-1]):
        again = Evaluate(EvaluateConfig(assignment=record.assignment), problem.evaluator).evaluation(graph)
        assert record.outcome["quality"] == pytest.approx(again.quality.to_json())
        assert record.outcome["ledger"]["bits_per_input"] == pytest.approx(again.ledger.bits_per_input)
        hardware = evaluate_hardware(graph, record.assignment, problem.platform, TOKENS)
        assert record.outcome["hardware"] == hardware.totals()
        assert record.values == (again.quality.kl, hardware.interval)
        in_integers = all(name != "dialect4-online" for key, name in record.assignment.formats.items() if "hs" in key)
        assert (hardware.mac_coverage == 1) == in_integers  # attention in DialectFP4 has no RTL
        assert hardware.resources["area"] <= 2e5
        assert Assignment.from_json(record.to_json()["assignment"]) == record.assignment


def test_first_trials_are_the_uniform_designs(graph: Graph, through: SearchResult) -> None:
    designs = uniform_designs(tiny_space(graph))
    assert [dict(record.parameters) for record in through.records[: len(designs)]] == designs
    assert [record.source for record in through.trials] == ["uniform"] * len(designs) + ["tpe"] * (16 - len(designs))
    families = {
        (record.outcome["assignment"]["notes"]["family"], record.parameters["rows"]) for record in through.records[:4]
    }
    assert families == {(family, rows) for family in ("bitmod", "dialect") for rows in (1, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": {"objectives": ("kl", "bits")}}, r"objectives was \['kl', 'cycles'\] and is \['kl', 'bits'\]"),
        ({"problem": {"platform": load_platform("sg13g2")}}, "platform was 'asap7' and is 'sg13g2'"),
        ({"problem": {"constraints": {"bits": 45.0}}}, "constraints was {} and is {'bits': 45.0}"),
        ({"space": {"rows": (2, 4)}}, "space was .* and is"),
        ({"config": {"seed": 7}}, "seed was 0 and is 7"),
        ({"config": {"strategy": "random"}}, "strategy was 'tpe' and is 'random'"),
    ],
)
def test_a_study_of_another_search_is_refused(graph: Graph, tmp_path: Path, change: dict, message: str) -> None:
    path = tmp_path / "study.db"
    tiny_search(graph, path, 1)
    with pytest.raises(InputError, match=f"is of another search: .*{message}"):
        search(
            tiny_problem(graph, **change.get("problem", {})),
            tiny_space(graph, **change.get("space", {})),
            SearchConfig(**{"trials": 2, "strategy": "tpe"} | change.get("config", {})),
            where=path,
        )
    assert finished(path) == 1


def test_files_that_are_no_study_are_refused_and_left_alone(graph: Graph, tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("not a database, but long enough to be mistaken for one")
    other = tmp_path / "other.db"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.commit()
    connection.close()
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(other.read_bytes()[:100] + b"\xff" * 4000)
    for path, message in (
        (text, "is not an SQLite database"),
        (other, "of another program"),
        (damaged, "damaged|cannot be opened"),
        (tmp_path, "is a folder"),
    ):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(InputError, match=message):
            tiny_search(graph, path, 1)
        assert (path.read_bytes() if path.is_file() else b"") == before


def test_energy_objective_needs_energies(graph: Graph) -> None:
    with pytest.raises(InputError, match="needs the energy of platform 'zu7ev', which is unknown"):
        tiny_problem(graph, platform=load_platform("zu7ev"), objectives=("kl", "energy"))
    with pytest.raises(InputError, match="did you mean 'cycles'"):
        tiny_problem(graph, objectives=("kl", "cycle"))


def test_a_platform_too_small_for_all_is_refused_before_any_trial(graph: Graph, tmp_path: Path) -> None:
    problem = tiny_problem(graph, platform=load_platform("asap7").with_budget(area=500))
    with pytest.raises(InputError, match="too small"):
        search(problem, tiny_space(graph), SearchConfig(trials=2), where=tmp_path / "study.db")
    assert not (tmp_path / "study.db").exists()


def test_designs_that_do_not_fit_are_skipped_and_counted(graph: Graph) -> None:
    easiest = tiny_problem(graph, platform=load_platform("asap7").with_budget(area=1e9))
    space = tiny_space(graph, rows=(1, 64))
    design = space.design(space.all_parameters("bitmod", 1, None, {}))
    costly = space.design(space.all_parameters("bitmod", 64, None, {}))
    least = [smallest(easiest, each) for each in (design, costly)]
    problem = tiny_problem(graph, platform=load_platform("asap7").with_budget(area=sum(least) / 2))
    result = search(problem, space, SearchConfig(trials=12))
    assert result.infeasible >= 2
    assert len(result.records) + result.infeasible == 12
    assert {record.parameters["rows"] for record in result.records} == {1}


def smallest(problem, design) -> float:
    """Return the area of a design at its smallest sizes."""
    tight = HardwareCosts(problem.graph, problem.platform.with_budget(area=1), TOKENS)
    with pytest.raises(InputError) as refused:
        tight.plan(design.formats, design.rows)
    return float(re.search(r"needs ([\d,]+) um2", str(refused.value)).group(1).replace(",", ""))


def test_spaces_without_hardware_are_refused(graph: Graph) -> None:
    with pytest.raises(InputError, match="no hardware unit multiplies 'int8-e8m0' by 'int4-g32'"):
        tiny_space(graph, bitmod_weights=("int4-g32",))
    with pytest.raises(InputError, match="family must be one of bitmod, dialect"):
        tiny_space(graph, families=("posit",))
    with pytest.raises(InputError, match=r"strategy must be one of hybrid, tpe, nsga2, .*, not 'grid'"):
        SearchConfig(strategy="grid")


def test_the_pass_gives_the_graph_the_chosen_formats(graph: Graph) -> None:
    result = Search(SearchConfig(trials=4, strategy="tpe"), tiny_problem(graph), tiny_space(graph))(graph)
    formats = result.report["chosen"]["assignment"]["formats"]
    sites = result.graph.sites
    assert {key: site.format for key, site in sites.items() if site.format} == formats
    assert {site.operand for key, site in sites.items() if key not in formats} == {"cache"}
    assert all(site.format is None for site in graph.sites.values())
    assert result.report["trials"] == 4
