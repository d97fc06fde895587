"""Datasets on disk in every layout give the rows that were written, joined by an empty line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.models.dataset_text import read_dataset

ROWS = ["", " = Title = ", "naïve 日本\n", "the last row"]
TEXT = "\n\n".join(ROWS)


def write_jsonl(file: Path, rows: list[str], **more: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": row, "number": i, **more}) + "\n" for i, row in enumerate(rows)))


def saved(folder: Path) -> Path:
    import datasets

    datasets.Dataset.from_dict({"text": ROWS, "number": range(4)}).save_to_disk(folder, num_shards=2)
    return folder


def saved_splits(folder: Path) -> Path:
    import datasets

    splits = {"train": ["other"], "test": ROWS}
    datasets.DatasetDict({k: datasets.Dataset.from_dict({"text": rows}) for k, rows in splits.items()}).save_to_disk(
        folder
    )
    return folder


def parquet_as_on_the_hub(folder: Path) -> Path:
    import datasets

    (folder / "data").mkdir()
    for shard, rows in enumerate((ROWS[:3], ROWS[3:])):
        datasets.Dataset.from_dict({"text": rows}).to_parquet(folder / "data" / f"test-{shard:05}-of-00002.parquet")
    datasets.Dataset.from_dict({"text": ["other"]}).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def parquet_by_folder(folder: Path) -> Path:
    import datasets

    for split, rows in {"test": ROWS, "validation": ["other"]}.items():
        (folder / split).mkdir()
        datasets.Dataset.from_dict({"text": rows}).to_parquet(folder / split / "0000.parquet")
    return folder


def arrow(folder: Path) -> Path:
    import datasets

    datasets.Dataset.from_dict({"text": ROWS}).save_to_disk(folder / "made")
    (folder / "made" / "data-00000-of-00001.arrow").rename(folder / "wikitext-test.arrow")
    return folder


def json_lines(folder: Path) -> Path:
    write_jsonl(folder / "test.jsonl", ROWS)
    write_jsonl(folder / "train.jsonl", ["other"])
    with (folder / "test.jsonl").open("a") as file:
        file.write("\n")  # an empty line at the end is no row
    return folder


LAYOUTS = [saved, saved_splits, parquet_as_on_the_hub, parquet_by_folder, arrow, json_lines]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_are_joined_by_an_empty_line(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    if layout is not json_lines:
        pytest.importorskip("datasets", reason="needs the extra eval")
    folder = layout(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert read_dataset(folder) == TEXT
    assert sorted(tmp_path.rglob("*")) == before
    if layout in (saved_splits, parquet_as_on_the_hub, json_lines):
        assert read_dataset(folder, split="train") == "other"


def test_a_column_is_taken_by_name_or_because_it_is_the_only_one(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1, "body": "x"}\n{"n": 2, "body": "y"}\n')
    assert read_dataset(tmp_path) == read_dataset(tmp_path, column="body", split="a") == "x\n\ny"
    (tmp_path / "a.jsonl").write_text('{"title": "t", "body": "x"}\n')
    assert read_dataset(tmp_path, column="title") == "t"
    with pytest.raises(InputError, match=r"has the columns title, body; give one of them as column$"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match=r"has no column 'bdy' but title, body; did you mean 'body'\?$"):
        read_dataset(tmp_path, column="bdy")


def test_a_split_is_asked_for_where_there_are_several(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "train.jsonl", ["a"])
    assert read_dataset(tmp_path) == "a"
    write_jsonl(tmp_path / "validation.jsonl", ["b"])
    with pytest.raises(InputError, match=r"has the splits train, validation; give one of them as split$"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match=r"has no split 'valid' but train, validation; did you mean 'validation'\?$"):
        read_dataset(tmp_path, split="valid")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"^dataset .* has no rows$"),
        ('{"text": "a"}\n{"text": null}\n', r"column 'text' of row 1 is no text but None$"),
        ('{"text": "a"}\n{"other": "b"}\n', r"column 'text' of row 1 is no text but None$"),
        ('{"n": 1}\n', r"has no column of text but n$"),
        ('{"text": "a"}\n{"text": \n', r"test\.jsonl, line 2, is no JSON: "),
        ('{"text": "a"}\n[1]\n', r"test\.jsonl, line 2, must be a JSON object, not \[1\]$"),
        (b'{"text": "\xff"}\n', r"test\.jsonl, line 1, is no JSON: "),
    ],
)
def test_bad_rows_are_named(content: str | bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as error:
        read_dataset(tmp_path)
    assert "\n" not in str(error.value)


def test_folders_that_are_no_dataset_or_several_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no dataset: no file of \.parquet, \.arrow, \.jsonl, none from"):
        read_dataset(tmp_path)
    write_jsonl(tmp_path / "wikitext-2" / "test.jsonl", ["a"])
    write_jsonl(tmp_path / "wikitext-103" / "test.jsonl", ["a"])
    with pytest.raises(InputError, match=r"holds several datasets \(wikitext-103, wikitext-2\); give the folder of"):
        read_dataset(tmp_path)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    pytest.importorskip("datasets", reason="needs the extra eval")
    (tmp_path / "test.parquet").write_bytes(b"PAR1 but nothing else")
    with pytest.raises(InputError, match=r"^dataset .*test\.parquet cannot be read: ") as error:
        read_dataset(tmp_path)
    assert "\n" not in str(error.value)
    folder = saved(tmp_path / "saved")
    for file in folder.glob("*.arrow"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"^dataset .*saved cannot be read: ") as error:
        read_dataset(folder)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"was saved as one split; leave out split 'test'$"):
        read_dataset(folder, split="test")


def test_json_lines_need_no_extra_and_parquet_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    write_jsonl(tmp_path / "test.jsonl", ROWS)
    assert read_dataset(tmp_path) == TEXT
    (tmp_path / "test.jsonl").rename(tmp_path / "test.parquet")
    with pytest.raises(
        InputError, match=r"parquet: package datasets is needed and not installed: pip install 'mxhw\[eval"
    ):
        read_dataset(tmp_path)
