"""One worker's loop: trials of a study until as many have finished as are wanted, whoever else works on it.

What holds, for any number of workers on any storage:

* A trial is made together with who runs it, in one step, and takes its turn and parameters from the trials before it
  (:mod:`.turns`). With one worker the result is the same whether the search ran through or was interrupted anywhere.
* A trial whose process has died is failed, and tried again with the same parameters: at once if the process was on this
  machine, else when its signs of life stay away. A design whose attempts keep ending so is given up as infeasible.
* A trial that was taken for dead and was not finds out when it writes: its outcome is dropped, the other attempt's
  counts.
* Exactly `total` trials finish. A worker waits while others run the last ones, since those may die.

Samplers learn from an infeasible trial through its constraints: Optuna's TPE ranks it behind all feasible ones, also
with several objectives; NSGA-II leaves it out of its population. A stopped trial is ranked behind the evaluated ones.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any
from warnings import catch_warnings, simplefilter

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import InMemoryStorage, RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState, create_trial

from mxhw.errors import InputError
from mxhw.passes.search import turns
from mxhw.passes.search.owner import Owner, has_died, owning
from mxhw.passes.search.prescribed import PrescribedSampler
from mxhw.passes.search.record import INDEX, INFEASIBLE, OUTCOME, SEEDS, STOPPED, counts
from mxhw.passes.search.signs import Signs, Watch
from mxhw.passes.search.storage import GRACE, HEARTBEAT, database_of, release_storage
from mxhw.progress import Progress, SilentProgress, Task

__all__ = ["Evaluated", "Infeasible", "Stopped", "run_trials"]

OWNER = "mxhw_owner"  # user attributes of a trial
SIGN = "mxhw_sign"
_RETRIES = 3
_POLL = 0.5  # seconds between two looks at what others run
_FAREWELL_SECONDS = 5.0  # how long an interrupted worker tries to say so
_BLAMELESS = (KeyboardInterrupt, SystemExit, GeneratorExit, InputError, OSError)  # the design did not cause these


@dataclass(frozen=True)
class Evaluated:
    """What a trial found.

    Attributes
    ----------
    values : (objectives,)
        In the study's order.
    outcome : mapping
        JSON, for reports; "seconds" is added if it is absent.
    """

    values: tuple[float, ...]
    outcome: Mapping[str, Any]


class Infeasible(Exception):  # noqa: N818 - a finding, no fault
    """A design that does not fit, or breaks a bound.

    Parameters
    ----------
    reason : str
    violations : mapping of bound to excess, optional
        Positive where a bound is broken, best as a ratio: samplers prefer small sums.
    """

    def __init__(self, reason: str, violations: Mapping[str, float] | None = None) -> None:
        super().__init__(reason)
        self.violations = dict(violations or {})
        if not any(excess > 0 for excess in self.violations.values()):
            self.violations["infeasible"] = 1.0


class Stopped(Exception):  # noqa: N818
    """A design given up on a part of the text; it counts, has no values, and ranks behind all evaluated ones.

    Parameters
    ----------
    values : (objectives,)
        So far.
    outcome : mapping
        JSON.
    """

    def __init__(self, values: Sequence[float], outcome: Mapping[str, Any]) -> None:
        super().__init__("stopped early")
        self.values, self.outcome = tuple(values), outcome


def run_trials(
    study: optuna.Study,
    total: int,
    evaluate: Callable[[optuna.Trial, int], Evaluated],
    sampler_of: Callable[[int], BaseSampler],
    *,
    progress: Progress | None = None,
    note: Callable[[optuna.Study], str] | None = None,
    retries: int = _RETRIES,
    heartbeat: float = HEARTBEAT,
    grace: float = GRACE,
    poll: float = _POLL,
) -> None:
    """Run trials until `total` of the study are finished: evaluated, stopped early or infeasible.

    Parameters
    ----------
    study : optuna.Study
        From :func:`.study.open_study`.
    total : int
        Those that the study already holds, and those of other workers, included.
    evaluate : callable
        Given a trial and its turn of the search; suggests parameters, and returns :class:`Evaluated` or raises
        :class:`Infeasible` or :class:`Stopped`.
    sampler_of : callable
        Gives the sampler of a turn. A turn below the number of first designs takes those; the sampler is consulted
        nevertheless, and fills in what a design leaves open.
    progress : Progress, optional
    note : callable, optional
        What to show beside the bar when a trial has finished.
    retries : int
        How often a design is tried again whose attempts end without an outcome.
    heartbeat, grace : seconds
        Between signs of life; without one after which a trial of another machine is taken for dead.
    poll : seconds
        Between two looks at what others run.

    Raises
    ------
    InputError
        If the storage stays unreachable or cannot be written. What `evaluate` raises otherwise is passed on.
    """
    with owning() as me, (progress or SilentProgress()).task("search", total) as task:
        worker = _Worker(study, total, evaluate, sampler_of, task, note, retries, heartbeat, grace, poll, me)
        try:
            worker.run()
        except BaseException as error:
            with suppress(Exception):
                worker.leave(error)
            raise
        finally:
            with suppress(Exception):
                release_storage(study)


@dataclass
class _Worker:
    study: optuna.Study
    total: int
    evaluate: Callable[[optuna.Trial, int], Evaluated]
    sampler_of: Callable[[int], BaseSampler]
    task: Task
    note: Callable[[optuna.Study], str] | None
    retries: int
    heartbeat: float
    grace: float
    poll: float
    me: Owner
    watch: Watch = field(default_factory=Watch)
    shown: int = 0

    def run(self) -> None:
        database = database_of(self.study)
        if isinstance(database, RDBStorage) and hasattr(database, "patience"):
            database.patience.say = self.task.note
        self.designs = self.study.user_attrs.get(SEEDS, [])
        while True:
            trials = self.bury()
            finished = sum(map(counts, trials))
            self.show(finished)
            if finished >= self.total:
                return
            if finished + sum(t.state == TrialState.RUNNING for t in trials) >= self.total:
                time.sleep(self.poll)
                continue
            self.take_turn(trials)

    def show(self, finished: int) -> None:
        done = min(finished, self.total)
        if done > self.shown:
            self.task.advance(done - self.shown)
            self.shown = done
            if self.note is not None:
                self.task.note(self.note(self.study))

    def bury(self) -> list[FrozenTrial]:
        """Fail the trials whose processes have died, and return all trials."""
        with catch_warnings():
            simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(self.study)  # by the database's clock; storages without heartbeats do nothing
        trials = self.trials()
        dead = [t for t in trials if t.state == TrialState.RUNNING and self.is_dead(t)]
        for trial in dead:
            self.fail(trial.number)
        return self.trials() if dead else trials

    def is_dead(self, trial: FrozenTrial) -> bool:
        """Return whether nobody runs a running trial; this worker does not."""
        owner = trial.user_attrs.get(OWNER)
        if owner is None or owner["run"] == self.me["run"]:
            return True  # of a program that is not ours; or made twice, when the answer to the first request was lost
        died = has_died(owner)
        if died is None:
            return self.watch.unchanged(trial.number, trial.user_attrs.get(SIGN)) > self.grace
        return died

    def fail(self, number: int) -> None:
        with suppress(UpdateFinishedTrialError):
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def trials(self) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self.study.get_trials(deepcopy=False)
        return trials

    def take_turn(self, trials: list[FrozenTrial]) -> None:
        """Make a trial and run it, unless others made before fill the total."""
        attributes = {OWNER: dict(self.me)}
        attempt = turns.again(trials)
        if attempt is not None:
            attributes[turns.AGAIN] = attempt
        known = turns.known(trials, attempt) if attempt and attempt["deaths"] > self.retries else {}
        self.study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=attributes, **known))
        trials = self.trials()
        mine = next(t for t in trials if t.state == TrialState.RUNNING and self.owns(t))
        if turns.is_dropped(trials, mine):
            self.give_up(mine, turns.DROPPED, "another trial tries this design")
        elif turns.is_surplus(trials, mine, self.total):
            self.give_up(mine, turns.ORDERLY, "one too many")
        else:
            try:
                self.conduct(mine, trials)
            except UpdateFinishedTrialError:  # it was taken for dead, and is tried by another
                self.fail(mine.number)

    def owns(self, trial: FrozenTrial) -> bool:
        return bool(trial.user_attrs.get(OWNER, {}).get("run") == self.me["run"])

    def give_up(self, trial: FrozenTrial, attribute: str, reason: str) -> None:
        with suppress(UpdateFinishedTrialError):
            optuna.Trial(self.study, trial._trial_id).set_user_attr(attribute, reason)
        self.fail(trial.number)

    def conduct(self, frozen: FrozenTrial, trials: list[FrozenTrial]) -> None:
        """Run a trial and tell what it found."""
        index = turns.turn(trials, frozen)
        values = turns.prescribed(trials, frozen, self.designs)
        self.study.sampler = PrescribedSampler(values, self.sampler_of(index))
        trial = optuna.Trial(self.study, frozen._trial_id)
        with Signs(lambda count: self.give_sign(trial, count), self.heartbeat):
            trial.set_user_attr(INDEX, index)
            if turns.deaths(frozen) > self.retries:
                ends = turns.deaths(frozen)
                reason = f"the process that evaluated it ended {ends} times"
                self.refuse(trial, Infeasible(reason, {"ends": float(ends)}))
                return
            started = perf_counter()
            try:
                found = self.evaluate(trial, index)
                if not all(map(math.isfinite, found.values)):
                    trial.set_user_attr(OUTCOME, _timed(found.outcome, started))
                    raise Infeasible(f"its values are not numbers: {found.values}")
            except Infeasible as refusal:
                self.refuse(trial, refusal)
            except Stopped as stop:
                trial.set_user_attr(STOPPED, list(stop.values))
                trial.set_user_attr(OUTCOME, _timed(stop.outcome, started))
                self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
            else:
                trial.set_user_attr(OUTCOME, _timed(found.outcome, started))
                self.study.tell(trial, list(found.values), skip_if_finished=True)

    def refuse(self, trial: optuna.Trial, refusal: Infeasible) -> None:
        for name, excess in refusal.violations.items():
            trial.set_constraint(name, min(float(excess), 1e300))
        trial.set_user_attr(INFEASIBLE, str(refusal))
        self.study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)

    def give_sign(self, trial: optuna.Trial, count: int) -> None:
        storage = trial.storage
        if isinstance(storage, InMemoryStorage):
            return
        if getattr(storage, "get_heartbeat_interval", lambda: None)() is not None:
            storage.record_heartbeat(trial._trial_id)
        if count:
            trial.storage.set_trial_user_attr(trial._trial_id, SIGN, count)

    def leave(self, error: BaseException) -> None:
        """Fail what this worker runs; if the design is not to blame, say so."""
        database = database_of(self.study)
        if hasattr(database, "patience"):
            database.patience.seconds = _FAREWELL_SECONDS
        for trial in self.trials():
            if trial.state == TrialState.RUNNING and self.owns(trial):
                if isinstance(error, _BLAMELESS):
                    self.give_up(trial, turns.ORDERLY, type(error).__name__)
                else:
                    self.fail(trial.number)


def _timed(outcome: Mapping[str, Any], started: float) -> dict[str, Any]:
    return {"seconds": perf_counter() - started, **outcome}
