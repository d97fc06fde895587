"""Extension files: run once, only if named; a bad one is one line that names it, and leaves nothing registered."""

from pathlib import Path

import pytest

from mxhw import extensions
from mxhw.errors import InputError
from mxhw.formats import known_formats, load_extension, load_extensions, parse_format
from mxhw.formats import registry as registry_module

GOOD = """
from mxhw.formats import IntegerFormat, parse_format, register_format
from dataclasses import dataclass

@dataclass(frozen=True)
class Mine(IntegerFormat):
    @property
    def name(self) -> "str":
        return "mine"

register_format("mine", "integers as I like them", lambda name: Mine(5) if name == "mine" else None)
"""


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what these tests register from the other tests."""
    monkeypatch.setattr(registry_module, "_families", list(registry_module._families))
    monkeypatch.setattr(registry_module, "_cache", {})
    monkeypatch.setattr(extensions, "_loaded", {})


def extension(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_is_run_once_by_whatever_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = extension(tmp_path, GOOD + "\nimport builtins; builtins.mxhw_runs = getattr(builtins, 'mxhw_runs', 0) + 1\n")
    (tmp_path / "link.py").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    for each in (path, "mine.py", tmp_path / ".." / tmp_path.name / "mine.py", "link.py"):
        assert load_extension(each) == ("mine",)
    import builtins

    assert builtins.__dict__.pop("mxhw_runs") == 1
    assert parse_format("mine").bits((1, 4)) == 4 * 5 + 16
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["link.py", "mine.py"]


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        extension(tmp_path / name, GOOD.replace("mine", name))
    load_extensions([tmp_path / "one" / "mine.py", tmp_path / "two" / "mine.py"])
    assert type(parse_format("one")) is not type(parse_format("two"))
    assert type(parse_format("one")).__module__ != type(parse_format("two")).__module__


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x ==", "line 1: invalid syntax"),
        ("x = 1\n", "registers no format and no operation; it must call mxhw.formats.register_format"),
        ("\x00", "source code string cannot contain null bytes|is not a Python file"),
        ("\n\nimport nothing_of_that_name\n", "line 3: ModuleNotFoundError: No module named"),
        ("def f():\n    return 1 / 0\nf()\n", "line 2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "line 2: SystemExit: 3"),
        (GOOD.replace('"mine"', '"mxfp4"'), "'mxfp4' is a format of 'mxfp4 .*' already; choose another name"),
        (GOOD.replace('"mine"', '"int9"'), "'int9' is a format of 'int2..8.*' already"),
        (GOOD.replace('register_format("mine"', 'register_format("fp32"'), "format 'fp32' is registered already"),
        (GOOD.replace('if name == "mine" else None', ""), "takes 'mxhw-no-such-format' too; it must return None"),
        (GOOD.replace("Mine(5) if", "int(name) if"), "parser of 'mine' fails on 'mine': ValueError"),
        (GOOD.replace('if name == "mine" else', "if int(name) else"), "fails on 'mxhw-no-such-format': ValueError"),
        (GOOD.replace('name == "mine"', 'name == "other"'), "does not know the name 'mine'"),
        (GOOD.replace('return "mine"', 'return "yours"'), "the format called 'mine' says that its name is 'yours'"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path: Path, text: str, message: str) -> None:
    before = known_formats()
    path = extension(tmp_path, text)
    for _ in range(2):
        with pytest.raises(InputError, match=message) as error:
            load_extension(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        assert known_formats() == before
    path.write_text(GOOD)
    assert load_extension(path) == ("mine",)


def test_a_file_that_fails_late_leaves_nothing(tmp_path: Path) -> None:
    path = extension(tmp_path, GOOD + "raise RuntimeError('late')\n")
    with pytest.raises(InputError, match="line 12: RuntimeError: late"):
        load_extension(path)
    with pytest.raises(InputError, match="unknown format 'mine'"):
        parse_format("mine")


def test_an_absent_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.py' does not exist"):
        load_extension(tmp_path / "none.py")
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        load_extension(tmp_path)


def test_an_unknown_name_says_how_to_bring_ones_own() -> None:
    with pytest.raises(InputError, match="a format of your own needs its file named: --extension FILE"):
        parse_format("mine")
