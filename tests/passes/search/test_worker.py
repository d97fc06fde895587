"""Workers finish exactly the trials that are wanted, whoever dies; alone, a worker's search is deterministic."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from mxhw.errors import InputError
from mxhw.passes.search import turns, worker
from mxhw.passes.search.owner import has_died, owning
from mxhw.passes.search.record import INDEX, INFEASIBLE, counts, read_records
from mxhw.passes.search.samplers import make_sampler
from mxhw.passes.search.worker import OWNER, Evaluated, Infeasible, Stopped, run_trials
from tests.passes.search import processes
from tests.passes.search.toy import CHOICES, DESIGNS, random_sampler, suggest, toy_evaluate, toy_study, values_of


def trace(study: optuna.Study) -> list[tuple]:
    return [(record.number, record.parameters, record.values) for record in read_records(study)]


def sampler_of(name: str) -> Callable[[int], BaseSampler]:
    return lambda index: make_sampler(name, 0, index)


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_two_processes_of_which_one_is_killed(tmp_path: Path, name: str) -> None:
    where, total = tmp_path / name, 24
    workers = processes.start(where, total, tmp_path, "--workers", "2", "--seconds", "0.05", "--hang", "7")
    with processes.ended(workers):
        processes.kill_hanging(tmp_path, 7, workers)
        before = processes.finished_now(where)
        assert sorted(processes.codes(workers)) == [-9, 0]
    assert len(before) >= 6
    study = processes.check(where, total, tmp_path, before)
    failed = [t for t in study.trials if t.state == TrialState.FAIL and turns.ORDERLY not in t.user_attrs]
    assert [t.user_attrs[INDEX] for t in failed] == [7]
    (retried,) = (t for t in study.trials if t.user_attrs[INDEX] == 7 and t.state == TrialState.COMPLETE)
    assert retried.params == failed[0].params
    assert retried.user_attrs[turns.AGAIN] == {"of": failed[0].number, "turn": 7, "deaths": 1}


def test_the_check_of_these_tests_notices_a_lost_and_a_doubled_trial(tmp_path: Path) -> None:
    study = toy_study(tmp_path / "study.db")
    outcomes = (tmp_path / "outcomes-0").open("w", buffering=1)

    def noted(trial: optuna.Trial, index: int) -> Evaluated:
        found = toy_evaluate(trial, index)
        outcomes.write(found.outcome["nonce"] + "\n")
        return found

    run_trials(study, 3, noted, random_sampler)
    processes.check(tmp_path / "study.db", 3, tmp_path, {0: study.trials[0].values})
    for total, before in ((4, {}), (3, {0: [9.0, 9.0]}), (3, {7: [1.0, 1.0]})):
        with pytest.raises(AssertionError):
            processes.check(tmp_path / "study.db", total, tmp_path, before)
    study.add_trial(study.trials[1])
    with pytest.raises(AssertionError):
        processes.check(tmp_path / "study.db", 4, tmp_path, {})


def test_a_design_that_kills_its_process_every_time_is_given_up(tmp_path: Path) -> None:
    where = tmp_path / "study.db"
    workers = processes.start(where, 5, tmp_path, "--crash", "3", "--attempts", "10")
    with processes.ended(workers):
        assert processes.codes(workers) == [-9, -9, -9, 0]  # retries=2 in the toy
    study = processes.check(where, 5, tmp_path, {})
    assert [record.state for record in sorted(read_records(study), key=lambda record: record.number)] == [
        *["complete"] * 3,
        "infeasible",
        "complete",
    ]
    (given_up,) = (t for t in study.trials if INFEASIBLE in t.user_attrs)
    assert given_up.user_attrs[INFEASIBLE] == "the process that evaluated it ended 3 times"
    assert given_up.params == next(t.params for t in study.trials if t.user_attrs.get(INDEX) == 3)
    assert set(given_up.params) == {f"layer{i}" for i in range(5)}


class Killed(BaseException):
    """Ends a worker without a farewell, as SIGKILL does."""


@pytest.mark.parametrize("name", ["random", "tpe", "nsga2"])
def test_a_search_killed_anywhere_goes_on_as_if_it_had_run_through(tmp_path: Path, monkeypatch, name: str) -> None:
    def halves(trial: optuna.Trial, index: int) -> Evaluated:
        if trial.suggest_categorical("layer0", CHOICES) == "int8" and index % 4 == 3:
            raise Infeasible("too wide", {"area": 0.5})
        return toy_evaluate(trial, index)

    through = toy_study(None)
    run_trials(through, 40, halves, sampler_of(name))
    monkeypatch.setattr(worker._Worker, "leave", lambda self, error: None)
    draws = random.Random(name)
    where = tmp_path / "study.log"
    deaths = 0
    while True:
        left = draws.randrange(1, 60)

        def dying(trial: optuna.Trial, index: int) -> Evaluated:
            """Die after some more parameters of some more trials."""
            plain = trial.suggest_categorical

            def suggest_categorical(*arguments):
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed
                return plain(*arguments)

            trial.suggest_categorical = suggest_categorical
            return halves(trial, index)

        study = toy_study(where)
        try:
            run_trials(study, 40, dying, sampler_of(name), retries=100)
            break
        except Killed:
            deaths += 1
    assert deaths >= 5
    assert trace(study) == trace(through)


def test_first_designs_come_first_in_order() -> None:
    study = toy_study(None)
    run_trials(study, 5, toy_evaluate, random_sampler)
    assert [dict(record.parameters) for record in read_records(study)[:3]] == DESIGNS


def test_designs_of_other_parameters_are_filled_in_by_the_sampler() -> None:
    study = toy_study(None, begin=lambda study: [{"layer1": "int8", "other": 3}, {"layer2": "unknown"}])
    run_trials(study, 2, toy_evaluate, random_sampler)
    first, second = (record.parameters for record in read_records(study))
    assert first["layer1"] == "int8"
    assert set(first) == set(second) == {f"layer{i}" for i in range(5)}
    assert second["layer2"] in CHOICES


def test_threads_on_one_file_run_exactly_the_total(tmp_path: Path) -> None:
    """Race four workers through trials that take no time, where double counting is likeliest."""
    where, total, errors, ready = tmp_path / "study.db", 30, [], threading.Barrier(4)

    def work() -> None:
        try:
            ready.wait()
            run_trials(toy_study(where), total, toy_evaluate, random_sampler, poll=0.02)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    trials = toy_study(where).trials
    assert sum(map(counts, trials)) == total
    assert len({t.user_attrs[INDEX] for t in trials if counts(t)}) == total
    assert not any(t.state == TrialState.RUNNING for t in trials)


class Model:
    """Workers step by step on a list of trials: what `worker.take_turn` does, in any order of steps."""

    def __init__(self, total: int, seed: int, surplus: Callable = turns.is_surplus) -> None:
        self.total, self.draws, self.surplus = total, random.Random(seed), surplus
        self.trials: list[FrozenTrial] = []
        self.workers: list[dict] = [{"state": "look"} for _ in range(5)]

    def run(self) -> None:
        for _ in range(4000):
            ready = [each for each in self.workers if each["state"] != "done"]
            if not ready:
                return
            self.step(self.draws.choice(ready))
        raise AssertionError("never ends")

    def step(self, worker: dict) -> None:
        if worker["state"] == "look":
            finished = sum(map(counts, self.trials))
            running = sum(t.state == TrialState.RUNNING for t in self.trials)
            if finished >= self.total:
                worker["state"] = "done"
            elif finished + running < self.total:
                worker |= {
                    "state": "make",
                    "again": turns.again(self.trials),
                }  # what it saw may be old when it makes one
        elif worker["state"] == "make":
            attributes = {} if worker["again"] is None else {turns.AGAIN: worker["again"]}
            trial = create_trial(state=TrialState.RUNNING, user_attrs=attributes)
            trial.number = len(self.trials)
            self.trials.append(trial)
            worker |= {"state": "check", "trial": trial}
        elif worker["state"] == "check":
            trial, worker["state"] = worker["trial"], "look"
            if turns.is_dropped(self.trials, trial):
                trial.state = TrialState.FAIL
                trial.user_attrs = {**trial.user_attrs, turns.DROPPED: ""}
            elif self.surplus(self.trials, trial, self.total):
                trial.state = TrialState.FAIL
                trial.user_attrs = {**trial.user_attrs, turns.ORDERLY: ""}
            else:
                worker["state"] = "run"
        else:
            died = self.draws.random() < 0.3
            worker["trial"].state = TrialState.FAIL if died else TrialState.PRUNED
            worker["state"] = "look"

    def turns(self) -> list[int]:
        return [turns.turn(self.trials, t) for t in self.trials if counts(t)]


@pytest.mark.parametrize("total", [1, 4, 9])
def test_any_order_of_steps_gives_exactly_the_total_and_each_turn_once(total: int) -> None:
    for seed in range(60):
        model = Model(total, seed)
        model.run()
        assert sum(map(counts, model.trials)) == total
        assert len(set(model.turns())) == total
        if total == 9:
            model.total = 14  # given-back trials are tried first: no turn is left out
            for each in model.workers:
                each["state"] = "look"
            model.run()
            assert sorted(model.turns())[:9] == list(range(9))


def test_the_model_notices_a_rule_that_forgets_running_trials() -> None:
    def forgetful(trials, trial, total):
        return sum(map(counts, trials)) >= total

    models = [Model(4, seed, forgetful) for seed in range(60)]
    for model in models:
        model.run()
    assert any(sum(map(counts, model.trials)) > 4 for model in models)


def test_a_trial_of_another_machine_is_tried_again_when_its_signs_stay_away(tmp_path: Path) -> None:
    study = toy_study(tmp_path / "study.log")
    with owning() as me:
        elsewhere = {**me, "host": "elsewhere", "run": "1"}
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={OWNER: elsewhere}))
    assert has_died(elsewhere) is None
    run_trials(study, 3, toy_evaluate, random_sampler, grace=0.3, poll=0.05)
    assert [t.state for t in study.trials] == [TrialState.FAIL, *[TrialState.COMPLETE] * 3]
    assert sorted(record.number for record in read_records(study)) == [0, 1, 2]


def test_a_trial_taken_for_dead_that_was_not_is_dropped_and_counted_once(tmp_path: Path) -> None:
    study = toy_study(tmp_path / "study.db")

    def slow(trial: optuna.Trial, index: int) -> Evaluated:
        if index == 1 and not trial.user_attrs.get("late") and len(study.trials) < 3:
            other = toy_study(tmp_path / "study.db")
            other.tell(trial.number, state=TrialState.FAIL)
        return toy_evaluate(trial, index)

    run_trials(study, 4, slow, random_sampler)
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert [record.number for record in read_records(study)] == [0, 1, 2, 3]


def test_an_error_is_passed_on_and_its_design_tried_again(tmp_path: Path) -> None:
    study = toy_study(tmp_path / "study.db")

    def broken(error: BaseException) -> Callable:
        def evaluate(trial: optuna.Trial, index: int) -> Evaluated:
            if index == 2:
                suggest(trial)
                raise error
            return toy_evaluate(trial, index)

        return evaluate

    for error, deaths in ((KeyboardInterrupt(), 0), (InputError("a full disk"), 0), (RuntimeError("ours"), 1)):
        with pytest.raises(type(error)):
            run_trials(study, 4, broken(error), random_sampler)
        assert turns.again(study.trials)["deaths"] == deaths
    run_trials(study, 4, toy_evaluate, random_sampler)
    assert [record.number for record in read_records(study)] == [0, 1, 2, 3]
    assert len({str(t.params) for t in study.trials if t.user_attrs[INDEX] == 2}) == 1


def test_values_that_are_no_numbers_make_a_design_infeasible() -> None:
    study = toy_study(None)
    run_trials(study, 3, lambda trial, index: Evaluated((float("nan"), 1.0), {}), random_sampler)
    assert [record.state for record in read_records(study)] == ["infeasible"] * 3
    assert "are not numbers" in read_records(study)[0].reason


def share_infeasible(name: str, seed: int) -> float:
    """Return which share of the later trials falls in the infeasible half of the space."""
    study = toy_study(None, begin=None)

    def half(trial: optuna.Trial, index: int) -> Evaluated:
        found = suggest(trial)
        x = trial.suggest_float("x", 0, 1)
        if x > 0.5:
            raise Infeasible("x is above a half", {"x": x - 0.5})
        return Evaluated(values_of(found), {})

    run_trials(study, 80, half, lambda index: make_sampler(name, seed, index))
    return sum(record.state == "infeasible" for record in read_records(study)[40:]) / 40


def test_samplers_learn_from_infeasible_trials_with_two_objectives() -> None:
    shares = {name: [share_infeasible(name, seed) for seed in (1, 2)] for name in ("random", "tpe", "nsga2")}
    assert min(shares["random"]) > 0.3
    assert max(shares["tpe"]) < 0.2
    assert max(shares["nsga2"]) < 0.3


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_stopped_trials_count_and_samplers_live_with_them(name: str) -> None:
    study = toy_study(None)

    def stopping(trial: optuna.Trial, index: int) -> Evaluated:
        values = values_of(suggest(trial))
        if values[0] > 4:
            raise Stopped(values, {"figures": {"kl": values[0]}})
        return Evaluated(values, {})

    run_trials(study, 40, stopping, sampler_of(name))
    records = read_records(study)
    stopped = [record for record in records if record.state == "stopped"]
    assert len(records) == 40
    assert stopped
    assert all(record.figures["kl"] == record.values[0] > 4 for record in stopped)
    assert not {t.number for t in study.best_trials} & {record.number for record in stopped}


def test_infeasible_records_say_by_how_much() -> None:
    study = toy_study(None)

    def refuse(trial: optuna.Trial, index: int) -> Evaluated:
        raise Infeasible("area is 3, the bound 2", {"area": 0.5, "power": -0.1})

    run_trials(study, 1, refuse, lambda index: RandomSampler(seed=index))
    (record,) = read_records(study)
    assert (record.state, record.reason, record.values) == ("infeasible", "area is 3, the bound 2", ())
    assert record.violations == {"area": 0.5, "power": -0.1}
    assert record.to_json()["violations"] == {"area": 0.5, "power": -0.1}
