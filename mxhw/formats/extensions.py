"""Formats of a user's own: a Python file that calls `register_format`, run because the user named it.

Nothing is searched for: only the files that are given to :func:`load_extension` are run, each once a process. A file
that fails leaves nothing registered.
"""

import sys
import traceback
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from types import CodeType, ModuleType

from mxhw.errors import InputError
from mxhw.formats import registry
from mxhw.formats.base import Format

__all__ = ["load_extension", "load_extensions"]

_UNKNOWN = "mxhw-no-such-format"
_loaded: dict[Path, tuple[str, ...]] = {}


def load_extension(path: str | Path) -> tuple[str, ...]:
    """Run a Python file that registers formats, once a process; a second call with the same file does nothing.

    Returns
    -------
    tuple of str
        The patterns that the file registered.

    Raises
    ------
    InputError
        If the file cannot be read, is not Python, fails, registers no format, or registers a name that exists or that
        it does not know itself.
    """
    path = Path(path)
    resolved = path.resolve()
    if resolved not in _loaded:
        where = f"extension {str(path)!r}"
        code = _compiled(resolved, where)
        before, name = list(registry._families), _module_name(resolved)
        try:
            _run(code, resolved, name, where)
            added = registry._families[len(before) :]
            if not added:
                raise InputError(f"{where} registers no format; it must call mxhw.formats.register_format")
            _check(added, before, where)
        except BaseException:
            registry._families[:] = before
            registry._cache.clear()
            sys.modules.pop(name, None)
            raise
        _loaded[resolved] = tuple(family.pattern for family in added)
    return _loaded[resolved]


def load_extensions(paths: Iterable[str | Path]) -> None:
    """Run :func:`load_extension` on every file, in order."""
    for path in paths:
        load_extension(path)


def _compiled(path: Path, where: str) -> CodeType:
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{where} does not exist; give a Python file that registers a format") from None
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


def _check(added: list[registry.Family], before: list[registry.Family], where: str) -> None:
    """Hold what the file registered against what a name promises."""
    for family in added:
        if _parsed(family, _UNKNOWN, where) is not None:
            raise InputError(
                f"{where}: the parser of {family.pattern!r} takes {_UNKNOWN!r} too; it must return None for a name "
                "that is not of its family"
            )
        for name in family.examples or (family.pattern,):
            for other in before:
                if _takes(other, name):
                    raise InputError(f"{where}: {name!r} is a format of {other.pattern!r} already; choose another name")
            found = _parsed(family, name, where)
            if not isinstance(found, Format):
                raise InputError(
                    f"{where}: the parser of {family.pattern!r} does not know the name {name!r}; give names that it "
                    "knows as examples"
                )
            if found.name != name:
                raise InputError(f"{where}: the format called {name!r} says that its name is {found.name!r}")


def _parsed(family: registry.Family, name: str, where: str) -> Format | None:
    try:
        return family.parse(name)
    except Exception as error:
        raise InputError(
            f"{where}: the parser of {family.pattern!r} fails on {name!r}: {type(error).__name__}: {error}"
        ) from error


def _takes(family: registry.Family, name: str) -> bool:
    try:
        return family.parse(name) is not None
    except InputError:
        return True
