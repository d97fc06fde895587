"""The text of a Hugging Face dataset on disk: one column of one split, its rows joined by an empty line.

Joining rows by two line feeds is how GPTQ and its successors read WikiText-2, so perplexities compare with theirs.
JSON lines are read as they are; everything else through the `datasets` library (extra `eval`), which maps or streams
files and copies none. Scripts of datasets are never run, and nothing is downloaded.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mxhw.errors import InputError, nearest, require_extra

__all__ = ["read_dataset", "stay_offline"]

_JOINT = "\n\n"
_BUILDERS = {".parquet": "parquet", ".arrow": "arrow"}
_KINDS = (*_BUILDERS, ".jsonl")
_SHARD = re.compile(r"^\d+$|-\d+-of-\d+$")  # 0000.parquet, test-00000-of-00002.parquet
_DEFAULT_SPLIT, _DEFAULT_COLUMN = "test", "text"


def read_dataset(folder: Path, *, column: str | None = None, split: str | None = None) -> str:
    """Return the rows of a column, joined by two line feeds.

    Parameters
    ----------
    folder : Path
        What `datasets` wrote with ``save_to_disk``; or a folder of .parquet, .arrow or .jsonl files, as datasets on the
        hub are: a file belongs to the split that it is named after, without a shard's number (test-00000-of-00002);
        files in a folder "data" count as if they stood beside it, and files that are named by numbers only belong to
        the split that their folder is named after.
    column : str, optional
        By default "text", or the only column of strings.
    split : str, optional
        By default "test", or the only one.

    Raises
    ------
    InputError
        If the folder holds no dataset, it cannot be read, the split or column does not exist, is no text or is not
        given though there are several; if there are no rows; or if `datasets` is needed and not installed.
    """
    if (folder / "dataset_dict.json").is_file():
        names = sorted(path.name for path in folder.iterdir() if (path / "state.json").is_file())
        rows = _saved(folder / _chosen("split", split, names, _DEFAULT_SPLIT, folder))
    elif (folder / "state.json").is_file():
        if split is not None:
            raise InputError(f"dataset {folder} was saved as one split; leave out split {split!r}")
        rows = _saved(folder)
    else:
        splits = _splits(folder)
        rows = _rows(splits[_chosen("split", split, sorted(splits), _DEFAULT_SPLIT, folder)])
    return _JOINT.join(_texts(rows, column, folder))


def stay_offline() -> None:
    """Keep `datasets`, when it is imported, from the network, unless the environment says what to do there."""
    if "HF_HUB_OFFLINE" not in os.environ:
        os.environ.setdefault("HF_DATASETS_OFFLINE", "1")


def _chosen(what: str, asked: str | None, names: list[str], default: str, folder: Path) -> str:
    """Return the name asked for, else the default, else the only one."""
    if asked is None and (default in names or len(names) == 1):
        return default if default in names else names[0]
    there = ", ".join(names) or "none"
    if asked is None:
        raise InputError(f"dataset {folder} has the {what}s {there}; give one of them as {what}")
    if asked not in names:
        raise InputError(f"dataset {folder} has no {what} {asked!r} but {there}{nearest(asked, names)}")
    return asked


def _splits(folder: Path) -> dict[str, list[Path]]:
    """Return the data files by split."""
    files = _files(folder) or _files(folder / "data")
    if files:
        return _grouped((_SHARD.sub("", file.stem) or folder.name, file) for file in files)
    inner = {path.name: _files(path) for path in sorted(folder.iterdir()) if path.is_dir() and _files(path)}
    if not inner:
        raise InputError(f"folder {folder} holds no dataset: no file of {', '.join(_KINDS)}, none from save_to_disk")
    if all(not _SHARD.sub("", file.stem) for files in inner.values() for file in files):
        return inner
    raise InputError(f"folder {folder} holds several datasets ({', '.join(inner)}); give the folder of one")


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*") if file.suffix in _KINDS and file.is_file())


def _grouped(pairs: Iterable[tuple[str, Path]]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for name, file in pairs:
        groups.setdefault(name, []).append(file)
    return groups


def _saved(folder: Path) -> Iterator[Mapping[str, Any]]:
    require_extra("datasets", "eval", f"dataset {folder}")
    stay_offline()
    from datasets import load_from_disk

    try:
        yield from load_from_disk(str(folder))
    except Exception as error:  # whatever a damaged file leads to
        raise _unreadable(folder, error) from error


def _rows(files: list[Path]) -> Iterator[Mapping[str, Any]]:
    for file in files:
        if file.suffix == ".jsonl":
            yield from _json_lines(file)
        else:
            yield from _streamed(file)


def _streamed(file: Path) -> Iterator[Mapping[str, Any]]:
    require_extra("datasets", "eval", f"dataset file {file}")
    stay_offline()
    from datasets import load_dataset

    try:
        yield from load_dataset(_BUILDERS[file.suffix], data_files=[str(file)], split="train", streaming=True)
    except Exception as error:
        raise _unreadable(file, error) from error


def _json_lines(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{file}, line {number}, is no JSON: {error}") from None
            if not isinstance(row, dict):
                raise InputError(f"{file}, line {number}, must be a JSON object, not {row!r:.40}")
            yield row


def _texts(rows: Iterator[Mapping[str, Any]], column: str | None, folder: Path) -> Iterator[str]:
    """Yield the column of every row; InputError where it is no string."""
    first = next(rows, None)
    if first is None:
        raise InputError(f"dataset {folder} has no rows")
    of_text = [name for name, value in first.items() if isinstance(value, str)]
    if not of_text:
        raise InputError(f"dataset {folder} has no column of text but {', '.join(first)}")
    name = _chosen("column", column, list(first) if column else of_text, _DEFAULT_COLUMN, folder)
    for number, row in enumerate(_again(first, rows)):
        text = row.get(name)
        if not isinstance(text, str):
            raise InputError(f"dataset {folder}: column {name!r} of row {number} is no text but {text!r:.40}")
        yield text


def _again(first: Mapping[str, Any], rest: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield first
    yield from rest


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    return InputError(f"dataset {path} cannot be read: {type(error).__name__}: {reason:.200}")
