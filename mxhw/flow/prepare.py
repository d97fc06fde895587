"""What a run needs before it writes anything: tools, model, texts, platform and search space, all checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from mxhw.errors import InputError, MissingToolError
from mxhw.flow.config import Config, DataConfig
from mxhw.formats import load_extensions
from mxhw.hardware import Platform, load_platform
from mxhw.ir import Graph
from mxhw.models import LoadedModel, capture, load_model, read_ids, windows
from mxhw.passes.search import ACCURACY, SearchSpace, SpaceConfig, TaskScore, check_bounds
from mxhw.progress import Progress
from mxhw.sim import toolchain

__all__ = ["Prepared", "prepare", "require_tools"]


@dataclass(frozen=True)
class Prepared:
    """A checked start.

    Attributes
    ----------
    graph : Graph
        The float graph.
    calibration, search, test : int64 tensors [windows, context]
    tasks : what scores a graph for each objective or bound "accuracy:TASK".
    """

    config: Config
    loaded: LoadedModel
    graph: Graph
    platform: Platform
    space: SearchSpace
    calibration: Tensor
    search: Tensor
    test: Tensor
    tasks: dict[str, TaskScore] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Parameters of the model."""
        return sum(parameter.numel() for parameter in self.loaded.model.parameters())


def require_tools() -> None:
    """Raise a MissingToolError for the first program that simulation needs and that is not here."""
    for tool in toolchain.check():
        if not tool.found and not tool.optional:
            raise MissingToolError(
                f"{tool.name} is needed for {tool.needed_for} and is not here; install it with: {tool.install_hint}"
            )


def prepare(config: Config, progress: Progress, *, simulate: bool = True) -> Prepared:
    """Load and check everything that the config names.

    Raises
    ------
    InputError
        If anything that the config names is absent, damaged or does not fit together.
    """
    if simulate:
        require_tools()
    load_extensions(config.extensions)
    with _section("platform"):
        platform = load_platform(config.platform.name)
        if config.platform.budget:
            platform = platform.with_budget(**config.platform.budget)
    with _section("search"):
        names = SpaceConfig.__dataclass_fields__.keys()
        space = SpaceConfig(**{name: getattr(config.search, name) for name in names})
        check_bounds(config.search.objectives, config.search.constraints, platform)
    with progress.task("capture", 2) as task:
        loaded = load_model(config.model)
        data = config.data
        with _section("data"):
            calibration = windows(read_ids(data.calibration, loaded), data.context, data.calibration_windows)
            search = windows(read_ids(data.search, loaded), data.context, data.search_windows)
            test = windows(read_ids(data.test, loaded), data.context, data.test_windows)
        task.advance()
        graph = capture(loaded, batch=1, sequence=data.context)
        tasks = _tasks(config, loaded)
        task.note(f"{len(graph.nodes)} operations, {len(graph.gemms)} matrix products")
        task.advance()
    return Prepared(config, loaded, graph, platform, SearchSpace(graph, space), calibration, search, test, tasks)


def _tasks(config: Config, loaded: LoadedModel) -> dict[str, TaskScore]:
    """Return what scores a graph for each task that an objective or a bound names."""
    wanted = [name for name in (*config.search.objectives, *config.search.constraints) if name.startswith(ACCURACY)]
    return {name: _task(name.removeprefix(ACCURACY), config.data, loaded) for name in dict.fromkeys(wanted)}


def _task(name: str, data: DataConfig, loaded: LoadedModel) -> TaskScore:
    from mxhw.flow.harness import load_tasks, run_tasks

    suite = load_tasks([name], None if data.task_folder is None else Path(data.task_folder))

    def accuracy(graph: Graph) -> float:
        metrics = run_tasks(suite, loaded, graph, limit=data.task_limit)[name].metrics
        if "acc" not in metrics:
            raise InputError(f"task {name!r} has no metric 'acc', only {', '.join(metrics)}; choose another task")
        return metrics["acc"]

    return accuracy


@contextmanager
def _section(name: str) -> Iterator[None]:
    """Let errors say which section of the config they are about."""
    try:
        yield
    except InputError as error:
        raise InputError(f"[{name}] {error}") from error
