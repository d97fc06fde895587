"""A toy search of a few categories: `python -m tests.passes.search.toy WHERE TOTAL FOLDER --workers N`.

The worker processes are forked before anything is opened, so that the imports are paid for once; how each ended is one
line of JSON.
"""

import argparse
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import optuna
from optuna.samplers import BaseSampler, RandomSampler

from mxhw.passes.search import owner
from mxhw.passes.search.study import open_study
from mxhw.passes.search.worker import Evaluated, run_trials

CHOICES = ("bitmod3", "bitmod4", "int8")
LAYERS = 5
FINGERPRINT = {"model": "toy", "space": list(CHOICES)}
DESIGNS = [{f"layer{i}": choice for i in range(LAYERS)} for choice in CHOICES]


def random_sampler(index: int) -> BaseSampler:
    return RandomSampler(seed=index)


def values_of(parameters: dict[str, str]) -> tuple[float, float]:
    """Return a loss that falls and a cost that grows with the widths."""
    widths = [CHOICES.index(parameters[f"layer{i}"]) for i in range(LAYERS)]
    return (
        sum((2 - width) ** 2 / (i + 1) for i, width in enumerate(widths)),
        float(sum(width * (i + 1) for i, width in enumerate(widths))),
    )


def suggest(trial: optuna.Trial) -> dict[str, str]:
    return {f"layer{i}": trial.suggest_categorical(f"layer{i}", CHOICES) for i in range(LAYERS)}


def toy_evaluate(trial: optuna.Trial, index: int) -> Evaluated:
    values = values_of(suggest(trial))
    return Evaluated(values, {"nonce": uuid4().hex, "pid": os.getpid(), "seconds": 0.0})


def toy_study(where: str | Path | None, **settings) -> optuna.Study:
    return open_study(where, FINGERPRINT, **({"begin": lambda study: DESIGNS} | settings))


def recording(folder: Path, seconds: float, hang: Sequence[int], crash: Sequence[int]) -> Callable:
    """Return the toy's evaluation with a note of every outcome, in trials that take some time.

    The first to reach a trial of `hang` says so and never ends; everyone who reaches one of `crash` is killed there.
    """

    def evaluate(trial: optuna.Trial, index: int) -> Evaluated:
        found = toy_evaluate(trial, index)
        time.sleep(seconds)
        marker = folder / f"hangs-{index}"
        if index in hang and not marker.exists():
            marker.write_text(str(os.getpid()))
            while True:
                time.sleep(60)
        if index in crash:
            os.kill(os.getpid(), signal.SIGKILL)
        with (folder / f"outcomes-{os.getpid()}").open("a") as file:
            file.write(found.outcome["nonce"] + "\n")
        return found

    return evaluate


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("where")
    parser.add_argument("total", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--hang", type=int, nargs="*", default=[])
    parser.add_argument("--crash", type=int, nargs="*", default=[])
    parser.add_argument("--grace", type=int, default=120)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--attempts", type=int, default=1, help="start a worker anew that was killed")
    parser.add_argument("--machines", action="store_true", help="each worker takes itself for another machine")
    options = parser.parse_args()
    codes = []
    for _ in range(options.attempts):
        processes = [_forked(options) for _ in range(options.workers)]
        codes += [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in processes]
        if codes[-1] == 0:
            break
    print(json.dumps(codes))


def _forked(options: argparse.Namespace) -> int:
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        _work(options)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _work(options: argparse.Namespace) -> None:
    heartbeat = max(options.grace // 3, 1)
    if options.machines:
        host = f"machine-{os.getpid()}"
        owner._place = lambda: {"host": host}
    study = toy_study(options.where, heartbeat=heartbeat, grace=options.grace)
    evaluate = recording(options.folder, options.seconds, options.hang, options.crash)
    run_trials(
        study, options.total, evaluate, random_sampler, heartbeat=heartbeat, grace=options.grace, poll=0.1, retries=2
    )


if __name__ == "__main__":
    main()
