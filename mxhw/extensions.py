"""What a user adds to mxhw (formats, operations): a Python file that registers it, run because the user named it.

Nothing is searched for: only the files that are given to :func:`load_extension` are run, each once a process. A file
that fails leaves nothing registered. The tables that such a file adds to are those that the rooms track: a room's
package says :func:`track` when its own entries are in the table, so that what comes later is the user's, even where the
file is the first to import the room.
"""

import sys
import traceback
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Protocol

from mxhw.errors import InputError

__all__ = ["Registry", "Table", "load_extension", "load_extensions", "track"]

_ABSENT = object()


class Registry(Protocol):
    """A table that extensions add to."""

    def state(self) -> Any:
        """Return what the table holds now."""

    def restore(self, state: Any) -> None:
        """Let the table hold what it held then."""

    def added(self, state: Any, where: str) -> Iterable[str]:
        """Return the names that came since; InputError, which begins with ``where``, for what may not be there."""


class Table:
    """The registry that a dictionary is; ``name`` says what to call a key."""

    def __init__(self, entries: dict[Any, Any], name: Callable[[Any], str] = str) -> None:
        self._entries, self._name = entries, name

    def state(self) -> dict[Any, Any]:
        return dict(self._entries)

    def restore(self, state: dict[Any, Any]) -> None:
        self._entries.clear()
        self._entries.update(state)

    def added(self, state: dict[Any, Any], where: str) -> list[str]:
        return [self._name(key) for key, value in self._entries.items() if state.get(key, _ABSENT) is not value]


_registries: list[Registry] = []
_runs: list[list[tuple[Registry, Any]]] = []  # of the files being run: each registry, and its state before
_loaded: dict[Path, tuple[str, ...]] = {}


def track(*registries: Registry) -> None:
    """Let extensions add to tables; those of a room hold the room's own entries now."""
    _registries.extend(registries)
    for run in _runs:
        run.extend((registry, registry.state()) for registry in registries)


def load_extension(path: str | Path) -> tuple[str, ...]:
    """Run a Python file that registers formats or operations, once a process; a second call for it does nothing.

    Returns
    -------
    tuple of str
        What the file registered: the patterns of formats, and names of kinds, classes and operations, each once.

    Raises
    ------
    InputError
        If the file cannot be read, is not Python, fails, registers nothing, or registers what may not be.
    """
    path = Path(path)
    resolved = path.resolve()
    if resolved not in _loaded:
        where = f"extension {str(path)!r}"
        code, name = _compiled(resolved, where), _module_name(resolved)
        before = [(registry, registry.state()) for registry in _registries]
        _runs.append(before)
        try:
            _run(code, resolved, name, where)
            added = [each for registry, state in before for each in registry.added(state, where)]
            if not added:
                raise InputError(
                    f"{where} registers no format and no operation; it must call mxhw.formats.register_format, or "
                    "mxhw.ir.register_module and what goes with it (examples/own_operation.py)"
                )
        except BaseException:
            for registry, state in before:
                registry.restore(state)
            sys.modules.pop(name, None)
            raise
        finally:
            _runs.pop()
        _loaded[resolved] = tuple(dict.fromkeys(added))
    return _loaded[resolved]


def load_extensions(paths: Iterable[str | Path]) -> None:
    """Run :func:`load_extension` on every file, in order."""
    for path in paths:
        load_extension(path)


def _compiled(path: Path, where: str) -> CodeType:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            f"{where} does not exist; give a Python file that registers a format or an operation"
        ) from None
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}") from None
    try:
        # Not imported: an import would write a cache beside the user's file.
        return compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise InputError(f"{where}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise InputError(f"{where} is not a Python file: {error}") from None


def _module_name(path: Path) -> str:
    """A name that no other file's module has, so that two files of one name do not meet."""
    return f"mxhw_extension_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"


def _run(code: CodeType, path: Path, name: str, where: str) -> None:
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # where dataclasses look annotations up
    try:
        exec(code, module.__dict__)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        what = " ".join(str(error).split())
        raise InputError(f"{where}, line {lines[-1]}: {type(error).__name__}: {what}") from error
