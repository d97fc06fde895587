"""The configuration of a co-design run: one TOML file, checked key by key.

An unknown key is an error that suggests the nearest known one; relative paths are taken from the file's folder. The
effective configuration (every default filled in) is written beside the results and reproduces them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mxhw.errors import InputError, nearest
from mxhw.files import write_text
from mxhw.passes.search import Family, Granularity, SpaceConfig, StrategyName
from mxhw.passes.search import SearchConfig as SearchSettings

__all__ = ["Config", "DataConfig", "EmitConfig", "PlatformConfig", "SearchConfig", "load_config", "write_config"]

_SPACE, _SEARCH = SpaceConfig(), SearchSettings()
Formats = tuple[str, ...]
SensitivityMetric = Literal["kl", "mse", "taylor", "fisher", "hessian"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Texts: each a text file (or a .npy file of token ids), or the name of one that came with the model."""

    calibration: str = Field("calibration", description="held-in text for statistics")
    search: str = Field("search", description="text that designs are searched on")
    test: str = Field("heldout", description="text that results are stated on; neither trained nor searched on")
    context: int = Field(512, ge=8, description="tokens a window")
    calibration_windows: int = Field(8, ge=1)
    search_windows: int = Field(8, ge=1)
    test_windows: int = Field(0, ge=0, description="0: all of the text")
    task_folder: str | None = Field(None, description="tasks of one's own for objectives accuracy:TASK (YAML)")
    task_limit: int | None = Field(None, ge=1, description="documents of a task that are scored; default: all")


class PlatformConfig(_Section):
    """Hardware. ``name`` is a known platform or the path of a platform file."""

    name: str = "asap7"
    budget: dict[str, float] = Field(
        {}, description="resources that replace the platform's own: area in µm², or lut, dsp, bram"
    )
    sequence: int = Field(512, ge=1, description="tokens of the prefill that cycles and energy are counted for")
    decode: int = Field(128, ge=1, description="tokens after it that prefill, decode and throughput are counted for")


class SearchConfig(_Section):
    """What is searched, and how the design is chosen; see :class:`mxhw.passes.search.SpaceConfig`."""

    trials: int = Field(_SEARCH.trials, ge=1)
    objectives: tuple[str, ...] = Field(("kl", "cycles"), min_length=1, description="figures, any number of them")
    constraints: dict[str, float] = Field(
        {}, description="bounds of figures: the most that each may be, of those to be maximized the least"
    )
    strategy: StrategyName = _SEARCH.strategy
    early_stop: bool = Field(_SEARCH.early_stop, description="stop trials that are dominated on a part of the text")
    sensitivity: SensitivityMetric = Field("kl", description="what the first designs are allocated by")
    families: tuple[Family, ...] = Field(_SPACE.families, min_length=1)
    granularity: Granularity = _SPACE.granularity
    channel_group: int = Field(_SPACE.channel_group, ge=1, description='output channels, with granularity "channels"')
    bitmod_weights: Formats = _SPACE.bitmod_weights
    bitmod_inputs: Formats | str = _SPACE.bitmod_inputs
    bitmod_attention: Formats = _SPACE.bitmod_attention
    bitmod_scores: Formats = ()
    bitmod_values: Formats = ()
    bitmod_cache: Formats = ()
    dialect_weights: Formats = _SPACE.dialect_weights
    dialect_inputs: Formats | str = _SPACE.dialect_inputs
    dialect_attention: Formats = _SPACE.dialect_attention
    dialect_scores: Formats = ()
    dialect_values: Formats = ()
    dialect_cache: Formats = ()
    emulated_weights: Formats = _SPACE.emulated_weights
    emulated_inputs: Formats | str = _SPACE.emulated_inputs
    emulated_attention: Formats = _SPACE.emulated_attention
    emulated_scores: Formats = ()
    emulated_values: Formats = ()
    emulated_cache: Formats = ()
    rows: tuple[int, ...] = Field(_SPACE.rows, min_length=1, description="tokens in parallel, per array")
    shares: tuple[float, ...] = Field(
        _SPACE.shares, min_length=1, description="shares of the budget that a design may use"
    )
    widths: tuple[float, ...] = Field(
        _SPACE.widths, min_length=1, description="columns of each array, as multiples of the balanced design's"
    )
    folding: tuple[bool, ...] = Field(_SPACE.folding, min_length=1, description="equal layers share one block, or not")
    max_perplexity_increase: float = Field(
        _SEARCH.max_perplexity_increase, gt=0, description="what the chosen design may lose, as a ratio"
    )

    @field_validator("rows")
    @classmethod
    def _rows_positive(cls, rows: tuple[int, ...]) -> tuple[int, ...]:
        if any(row < 1 for row in rows):
            raise ValueError("every entry must be at least 1")
        return rows


class EmitConfig(_Section):
    """What becomes RTL and is simulated: a decoder block of every design, or single linear layers of it."""

    what: Literal["block", "layers"] = "block"
    block: str | None = Field(None, description='a block such as "model.layers.0", or "all"; default: the first block')
    rows: int | None = Field(None, ge=1, description="tokens at once in the emitted arrays; default: as searched")
    layers: int = Field(2, ge=1, description='how many layers a design, where what = "layers"')
    tokens: int = Field(32, ge=1, description="tokens of the test text that are driven through the RTL")
    stall: float = Field(0.2, ge=0, lt=0.9, description="probability of a stall a cycle, on each port")


class Config(_Section):
    """The whole run."""

    model: str = "demo"
    seed: int = Field(0, ge=0)
    extensions: tuple[str, ...] = Field(
        (), description="Python files that register number formats of your own; they are run"
    )
    data: DataConfig = DataConfig()
    platform: PlatformConfig = PlatformConfig()
    search: SearchConfig = SearchConfig()
    emit: EmitConfig = EmitConfig()


def load_config(path: Path, extensions: Iterable[Path] = ()) -> Config:
    """Read and check a TOML file; `extensions` are added to those that it names.

    Raises
    ------
    InputError
        If the file is absent, is not TOML, or has an unknown key or a value that is not allowed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"config {str(path)!r} does not exist; give a TOML file such as examples/demo.toml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"config {str(path)!r} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"config {str(path)!r} is not TOML: {error}") from None
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"config {str(path)!r}: {_explain(error, raw)}") from None
    config = _resolved(config, path.parent)
    named = [*config.extensions, *(str(file.resolve()) for file in extensions)]
    return config.model_copy(update={"extensions": tuple(dict.fromkeys(named))})


def write_config(config: Config, path: Path) -> None:
    """Write the effective configuration as TOML."""
    write_text(path, tomli_w.dumps(config.model_dump(exclude_none=True)))


def _resolved(config: Config, folder: Path) -> Config:
    """Make relative paths of extensions, and of files that exist beside the config, absolute."""

    def absolute(value: str) -> str:
        return str((folder / value).resolve()) if (folder / value).exists() else value

    data = config.data.model_copy(
        update={
            name: absolute(value)
            for name in ("calibration", "search", "test", "task_folder")
            if (value := getattr(config.data, name)) is not None
        }
    )
    platform = config.platform.model_copy(update={"name": absolute(config.platform.name)})
    extensions = tuple(str((folder / file).resolve()) for file in config.extensions)
    changes = {"model": absolute(config.model), "extensions": extensions, "data": data, "platform": platform}
    return config.model_copy(update=changes)


def _explain(error: ValidationError, raw: dict[str, Any]) -> str:
    """Say the first fault in one line."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = list(_section(fault["loc"][:-1]).model_fields)
        name = str(fault["loc"][-1])
        return f"unknown key {where!r}{nearest(name, known)} (known here: {', '.join(known)})"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where} = {fault['input']!r}: {message[0].lower()}{message[1:]}"


def _section(path: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model class that the keys of ``path`` lead to."""
    section: type[BaseModel] = Config
    for part in path:
        annotation = section.model_fields[str(part)].annotation
        candidates = [annotation, *get_args(annotation)]
        section = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return section
