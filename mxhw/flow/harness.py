"""Tasks of lm-eval (EleutherAI's evaluation harness) on captured graphs.

The tasks, their prompts and their metrics are lm-eval's own, and so is everything between a request and a row of
logits: only the forward pass is replaced (:class:`mxhw.flow.graph_lm.GraphLM`). An unquantized graph therefore scores
exactly what lm-eval's `HFLM` scores for the model. Tasks that generate text are refused; standard errors, which
lm-eval estimates by resampling, are left out.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mxhw.errors import InputError, nearest, require_extra
from mxhw.ir import Graph
from mxhw.models import LoadedModel
from mxhw.models.dataset_text import stay_offline
from mxhw.models.loading import first_line
from mxhw.progress import Progress, SilentProgress

__all__ = ["TaskResult", "TaskSuite", "load_tasks", "run_tasks"]

_SCORED = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")


@dataclass(frozen=True)
class TaskResult:
    """One task or group of tasks.

    Attributes
    ----------
    documents : int
        How many were scored.
    metrics : dict of str to float
        As lm-eval names them; where a task filters answers, the filter stands behind: "acc,strict".
    """

    documents: int
    metrics: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class TaskSuite:
    """Tasks that are ready to run: what lm-eval's `TaskManager.load` returns."""

    loaded: Any


def load_tasks(names: Sequence[str], include_path: Path | None = None) -> TaskSuite:
    """Load tasks by name, with their documents.

    Unless HF_DATASETS_OFFLINE or HF_HUB_OFFLINE is set, the former is set to 1, so that no documents are downloaded;
    set it to 0 where they may be.

    Parameters
    ----------
    names : sequence of str
        Tasks, groups or tags.
    include_path : Path, optional
        A folder with tasks of one's own; Python that they name (``!function``) is run. Where it defines all of
        `names`, lm-eval's own tasks are not even listed, which saves seconds.

    Raises
    ------
    InputError
        If lm-eval is not installed; if a task is unknown, cannot be loaded, generates text, or runs code that it
        gets from the model.
    """
    names = [name.strip() for name in names]
    if include_path is not None and not include_path.is_dir():
        raise InputError(f"include path {str(include_path)!r} is no folder; give the one with the tasks' YAML files")
    for package in ("lm_eval", "accelerate"):
        require_extra(package, "eval", "tasks of lm-eval")
    stay_offline()
    os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")  # metrics from the hub would be code from the hub
    with _quiet():
        _seed()
        try:
            loaded = _manager(names, include_path).load(names)
        except InputError:
            raise
        except Exception as error:  # a task's YAML, its code and its data can fail in any way
            raise InputError(f"tasks {', '.join(names)} cannot be loaded: {_reason(error)}") from error
    for name, task in loaded["tasks"].items():
        if task.OUTPUT_TYPE not in _SCORED:
            raise InputError(f"task {name!r} is of type {task.OUTPUT_TYPE}; graphs score {', '.join(_SCORED)}")
        if getattr(task, "UNSAFE_CODE", False):
            raise InputError(f"task {name!r} runs code that a model wrote, which mxhw does not do")
    return TaskSuite(loaded)


def run_tasks(
    suite: TaskSuite,
    loaded: LoadedModel,
    graph: Graph,
    *,
    limit: int | None = None,
    context: int | None = None,
    batch: int = 1,
    progress: Progress | None = None,
) -> dict[str, TaskResult]:
    """Return the results of a graph by task.

    Parameters
    ----------
    suite : TaskSuite
    loaded : LoadedModel
        The model that the graph was captured from: configuration and tokenizer.
    graph : Graph
        Captured with ``dynamic=True``; requests have all lengths.
    limit : int, optional
        Score only the first documents of every task.
    context : int, optional
        Most tokens of a request; by default the model's own context.
    batch : int
        Requests that run together; see :class:`mxhw.flow.graph_lm.GraphLM` for what that does to a quantized graph.

    Raises
    ------
    InputError
        If the graph has one size only, the model has no tokenizer, or an answer is longer than the context.
    """
    from lm_eval.defaults import DEFAULT_OTHER_SEED
    from lm_eval.evaluator import evaluate

    from mxhw.flow.graph_lm import GraphLM

    for task in suite.loaded["tasks"].values():
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    with _quiet():
        model = GraphLM(loaded, graph, context=context, batch=batch, progress=progress or SilentProgress())
        found = evaluate(model, suite.loaded, limit=limit, bootstrap_iters=0, log_samples=False)
    return {name: _result(values) for name, values in found["results"].items()}


def _manager(names: Sequence[str], include_path: Path | None) -> Any:
    """Return lm-eval's index of tasks, of the folder alone if that is enough; InputError for an unknown name."""
    from lm_eval.tasks import TaskManager

    if include_path is not None:
        manager = TaskManager(include_path=str(include_path), include_defaults=False)
        if all(name in manager.all_tasks for name in names):
            return manager
    manager = TaskManager(include_path=None if include_path is None else str(include_path))
    for name in names:
        if name not in manager.all_tasks:
            raise InputError(f"no task {name!r} in lm-eval{_beside(include_path)}{nearest(name, manager.all_tasks)}")
    return manager


def _beside(include_path: Path | None) -> str:
    return "" if include_path is None else f" or {include_path}"


def _reason(error: Exception) -> str:
    """Return the first line of an error, with the way out if it is that nothing may be downloaded."""
    line = first_line(error)
    offline = "offline" in line.lower() or isinstance(error, ConnectionError)
    return f"{line}; set HF_DATASETS_OFFLINE=0 to let documents be downloaded" if offline else line


def _seed() -> None:
    """Seed as lm-eval's own command does: tasks may shuffle their documents."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)
    torch.manual_seed(DEFAULT_OTHER_SEED)


def _result(values: dict[str, Any]) -> TaskResult:
    metrics = {
        key.removesuffix(",none"): float(value)
        for key, value in values.items()
        if "," in key and "_stderr," not in key and isinstance(value, int | float)
    }
    return TaskResult(values.get("sample_len", 0), metrics)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep lm-eval and datasets from logging and drawing bars; what matters is raised."""
    from datasets.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    logger, bars = logging.getLogger("lm_eval"), is_progress_bar_enabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bar()
