"""Records of runs as JSON files: written in one step, read with one line for what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mxhw.errors import InputError
from mxhw.files import write_text

__all__ = ["load_record", "save_record"]

_Model = TypeVar("_Model", bound=BaseModel)


def save_record(record: BaseModel, path: Path) -> Path:
    """Write a record in one step; return its path."""
    write_text(path, record.model_dump_json(indent=1) + "\n")
    return path


def load_record(model: type[_Model], path: Path, command: str) -> _Model:
    """Read the record that `mxhw COMMAND` leaves in a folder.

    Raises
    ------
    InputError
        If the file is absent, cannot be read, or is not such a record.
    """
    try:
        return model.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        folder = str(path.parent)
        raise InputError(
            f"{folder!r} has no {path.name}; make it with `mxhw {command} CONFIG --out {folder}`"
        ) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the record"
        reason = f"{place}: {first['msg']}".splitlines()[0]
        raise InputError(f"{str(path)!r} is not a record of `mxhw {command}`: {reason}; run it again") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {str(error).splitlines()[0]}") from None
