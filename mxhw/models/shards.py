"""The tensors of a safetensors checkpoint, one parameter at a time, for models that are never in memory as a whole.

Files are mapped, so a tensor that keeps its type costs no copy: its pages are read when they are used, and given back
with the tensor. Which tensors of the files make which parameter of the model (renamed, with or without the prefix of
the base model, experts stacked) is what transformers itself defines for loading (`conversion_mapping`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from mxhw.errors import InputError
from mxhw.models.checkpoint import check_directory, weight_files
from mxhw.models.loading import misfit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Shards"]

_FLOATS = frozenset({"F64", "F32", "BF16", "F16"})


@dataclass(frozen=True)
class _Stored:
    file: Path
    dtype: str
    shape: tuple[int, ...]


@dataclass
class _Recipe:
    """How a parameter is made: of one tensor as it is, or of several by a converter of transformers."""

    converter: Any = None
    sources: list[tuple[str, str]] = field(default_factory=list)  # name in the files, pattern of the converter


class Shards:
    """The checkpoint in `folder` for the parameters of `model`, which may be on the meta device.

    Raises
    ------
    InputError
        If the directory is not of the safe kind, a shard is missing or damaged, or tensors are missing, unexpected,
        wrongly shaped or not of a floating-point type; the message names them.
    """

    def __init__(self, folder: Path, model: PreTrainedModel) -> None:
        check_directory(folder)
        self._model = model
        self._expected: Mapping[str, Tensor] = model.state_dict()
        self._stored = _stored(folder)
        self._recipes, unexpected = _recipes(model, self._stored, self._expected)
        self._tie()
        self._check(folder, unexpected)

    def load(self, names: Collection[str]) -> dict[str, Tensor]:
        """Return parameters by name, in the type that the model has them in; tied ones are one tensor.

        Raises
        ------
        InputError
            If a name is that of a constant, which is in no checkpoint.
        """
        if unknown := sorted(set(names) - self._recipes.keys()):
            raise InputError(f"{type(self._model).__name__} reads {unknown[0]!r}, which is in no checkpoint")
        made: dict[int, Tensor] = {}
        with ExitStack() as opened:
            files = _Files(opened)
            return {name: self._make(name, files, made) for name in names}

    def _make(self, name: str, files: _Files, made: dict[int, Tensor]) -> Tensor:
        recipe, expected = self._recipes[name], self._expected[name]
        if recipe.converter is None:
            key = id(recipe)
            if key not in made:
                source = recipe.sources[0][0]
                made[key] = files.tensor(self._stored[source].file, source).to(expected.dtype)
            return made[key]
        converter = deepcopy(recipe.converter)
        for source, pattern in recipe.sources:
            tensor = files.tensor(self._stored[source].file, source).to(expected.dtype)
            converter.add_tensor(name, source, pattern, tensor)
        value = converter.convert(name, model=self._model, config=self._model.config)[name]
        return cast(Tensor, value[0] if isinstance(value, list) else value)

    def _tie(self) -> None:
        """Let a parameter that no file holds be the one that it is tied to, whichever of the two is there."""
        tied: Mapping[str, str] = self._model.all_tied_weights_keys
        for one, other in (*tied.items(), *((source, target) for target, source in tied.items())):
            if one not in self._recipes and other in self._recipes:
                self._recipes[one] = self._recipes[other]

    def _check(self, folder: Path, unexpected: set[str]) -> None:
        keys = SimpleNamespace(missing_keys=self._expected.keys() - self._recipes.keys(), unexpected_keys=unexpected)
        self._model._adjust_missing_and_unexpected_keys(keys)  # names that transformers itself passes over
        misfit(folder, "missing_keys", keys.missing_keys)
        misfit(folder, "unexpected_keys", keys.unexpected_keys)
        plain = {name: self._stored[r.sources[0][0]] for name, r in self._recipes.items() if r.converter is None}
        wrong = [
            f"{name} {list(stored.shape)}, not {list(self._expected[name].shape)}"
            for name, stored in plain.items()
            if stored.shape != tuple(self._expected[name].shape)
        ]
        misfit(folder, "mismatched_keys", wrong)
        for recipe in self._recipes.values():
            for source, _ in recipe.sources:
                if self._stored[source].dtype not in _FLOATS:
                    found = self._stored[source]
                    raise InputError(
                        f"weight {source!r} in {found.file} is of type {found.dtype}, not one of "
                        f"{', '.join(sorted(_FLOATS))}; give the unquantized checkpoint"
                    )


class _Files:
    """Shards that stay open until the stack closes; what was read from them stays valid."""

    def __init__(self, opened: ExitStack) -> None:
        self._opened = opened
        self._files: dict[Path, Any] = {}

    def tensor(self, file: Path, name: str) -> Tensor:
        from safetensors import safe_open

        if file not in self._files:
            self._files[file] = self._opened.enter_context(safe_open(file, framework="pt"))
        value: Tensor = self._files[file].get_tensor(name)
        return value


def _stored(folder: Path) -> dict[str, _Stored]:
    from safetensors import SafetensorError, safe_open

    found = {}
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118  (safe_open is no mapping)
                    part = tensors.get_slice(name)
                    found[name] = _Stored(file, part.get_dtype(), tuple(part.get_shape()))
        except SafetensorError as error:
            raise InputError(f"weight file {file} cannot be read: {error}") from None
    return found


def _recipes(
    model: PreTrainedModel, stored: Mapping[str, _Stored], expected: Mapping[str, Tensor]
) -> tuple[dict[str, _Recipe], set[str]]:
    """Return the recipe of every parameter that the files hold, and the names that belong to none."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    rules = get_model_conversion_mapping(model)
    renamings = [rule for rule in rules if isinstance(rule, WeightRenaming)]
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    prefix = model.base_model_prefix
    recipes: dict[str, _Recipe] = {}
    unexpected = set()
    for key in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, expected)
        if name not in expected and key in expected:
            name, pattern = rename_source_key(key, [], [], prefix, expected)
        if name not in expected:
            unexpected.add(name)
        elif pattern is None:
            recipes[name] = _Recipe(sources=[(key, "")])
        else:
            converter = by_pattern[pattern]
            first = recipes.setdefault(name, _Recipe(converter=converter))
            first.sources.append((key, pattern))
            for target in converter.target_patterns[1:]:
                recipes[name.replace(converter.target_patterns[0], target)] = first
    return recipes, unexpected
