"""Formats of a user's own from the command line: `--extension FILE`, and `extensions` in a config."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw import extensions
from mxhw.formats import parse_format
from mxhw.formats import registry as registry_module
from mxhw.ir import Assignment
from tests.cli.conftest import Ran
from tests.cli.test_bad_input import one_line

Command = Callable[..., Ran]
SEARCH = """
trials = 5
objectives = ["kl", "bits"]
families = ["emulated"]
emulated_weights = ["lns4", "lns4-b16", "mxfp4"]
emulated_inputs = "lns4-b16"
"""


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test begin without extensions."""
    ours = [family for family in registry_module._families if not family.pattern.startswith("lns4")]
    monkeypatch.setattr(registry_module, "_families", ours)
    monkeypatch.setattr(registry_module, "_cache", {})
    monkeypatch.setattr(extensions, "_loaded", {})


@pytest.fixture
def file(repository: Path) -> Path:
    return repository / "examples" / "own_format.py"


@pytest.fixture
def config(tiny_config: Path, tmp_path: Path, file: Path) -> Path:
    """A config beside a copy of the extension, for the tiny model."""
    (tmp_path / "own_format.py").write_text(file.read_text())
    data, folder = tomllib.loads(tiny_config.read_text())["data"], tiny_config.parent
    values = {name: str(folder / value) if isinstance(value, str) else value for name, value in data.items()}
    lines = [f"model = {json.dumps(str(folder / 'model'))}", 'extensions = ["own_format.py"]', "[data]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    (tmp_path / "config.toml").write_text("\n".join(lines) + f"\n[search]{SEARCH}")
    return tmp_path / "config.toml"


def test_formats_lists_it_with_its_true_bits(mxhw_command: Command, file: Path) -> None:
    ran = mxhw_command("formats", "--extension", file, "lns4", "lns4-b16", "--json")
    assert ran.code == 0, ran.err
    assert [row["bits"] for row in ran.json["formats"]] == [4.25, 4.5]
    assert [(row["unit"], row["kernel"]) for row in ran.json["formats"]] == [(None, False)] * len(ran.json["formats"])
    assert "lns4 | lns4-bN" in mxhw_command("formats", "--extension", file, "--extension", file).out


def test_without_the_option_it_is_unknown(mxhw_command: Command) -> None:
    one_line(mxhw_command("formats", "lns4"), "unknown format 'lns4'", "--extension FILE")


def test_a_search_finds_and_resumes_with_it(mxhw_command: Command, config: Path, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    ran = mxhw_command("search", config, "--out", out, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["trials"] == 5
    formats = Assignment.load(out / "assignment.json").formats.values()
    assert "lns4-b16" in formats
    effective = tomllib.loads((out / "config.toml").read_text())
    assert effective["extensions"] == [str(tmp_path / "own_format.py")]
    monkeypatch.setattr(extensions, "_loaded", {})
    monkeypatch.setattr(registry_module, "_families", registry_module._families[:-1])
    monkeypatch.setattr(registry_module, "_cache", {})
    more = mxhw_command("search", out / "config.toml", "--out", out, "--trials", 6, "--json")
    assert more.code == 0, more.err
    assert more.json["trials"] == 6
    assert "emulated" in mxhw_command("search", out / "config.toml", "--out", out, "--trials", 6).out


def test_the_option_does_what_the_config_key_does(
    mxhw_command: Command, config: Path, tmp_path: Path, file: Path
) -> None:
    config.write_text(config.read_text().replace('extensions = ["own_format.py"]\n', ""))
    out = tmp_path / "out"
    one_line(mxhw_command("search", config, "--out", out), "[search]", "unknown format 'lns4", "--extension FILE")
    assert not out.exists()
    ran = mxhw_command("search", config, "--extension", file, "--out", out, "--trials", 1)
    assert ran.code == 0, ran.err
    assert tomllib.loads((out / "config.toml").read_text())["extensions"] == [str(file)]


def test_an_assignment_with_it_is_evaluated_and_has_no_cost(
    mxhw_command: Command, tiny_config: Path, tmp_path: Path, file: Path
) -> None:
    model, text = tiny_config.parent / "model", tiny_config.parent / "text.txt"
    Assignment("tiny", {"lm_head:weight": "lns4", "lm_head:input": "lns4"}).save(tmp_path / "a.json")
    given = ("--assignment", tmp_path / "a.json", "--extension", file)
    words = ("--text", text, "--context", 32, "--windows", 2, "--json")
    ran = mxhw_command("evaluate", model, *given, *words)
    assert ran.code == 0, ran.err
    assert ran.json["scores"]["float emulation"]["kl"] > 0
    assert ran.json["hardware"] is None
    assert ran.json["bits"]["bits_per_weight"] < 32
    one_line(mxhw_command("cost", model, *given), "gives its input no format")
    one_line(mxhw_command("emit", model, *given, "--text", text, "--tokens", 3, "--layers"), "no layer to emit")


def test_codesign_says_that_there_is_no_rtl(mxhw_command: Command, config: Path, tmp_path: Path) -> None:
    ran = mxhw_command("codesign", config, "--out", tmp_path / "out")
    one_line(ran, "'emulated' has no hardware unit", "no RTL", "mxhw search")
    assert not (tmp_path / "out").exists()


def test_a_hardware_objective_names_the_one_that_works(mxhw_command: Command, config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace('"bits"', '"cycles"'))
    ran = mxhw_command("search", config, "--out", tmp_path / "out")
    one_line(ran, "objective 'cycles' cannot be computed", "use objective 'bits'")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["formats", "search"])
@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "does not exist"),
        ("def f(:\n", "line 1: invalid syntax"),
        ("print('hello')\n", "registers no format"),
        ("raise ValueError('two\\nlines')\n", "line 1: ValueError: two lines"),
        (
            "from mxhw.formats import parse_format, register_format\n"
            "fp4 = parse_format('mxfp4')\n"
            "register_format('mine', 'x', lambda name: fp4 if name == 'mxfp4' else None, ['mxfp4'])\n",
            "'mxfp4' is a format of",
        ),
    ],
)
def test_a_bad_extension_is_one_line(
    mxhw_command: Command, config: Path, tmp_path: Path, command: str, text: str | None, part: str
) -> None:
    path = tmp_path / "own_format.py"
    path.unlink()
    if text is not None:
        path.write_text(text)
    words = ("formats", "--extension", path) if command == "formats" else ("search", config, "--out", tmp_path / "out")
    one_line(mxhw_command(*words), str(path), part)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="unknown format 'mine'"):
        parse_format("mine")


@pytest.mark.parametrize("command", ["formats", "evaluate", "cost", "emit", "search", "codesign"])
def test_help_says_that_the_file_is_run(mxhw_command: Command, command: str) -> None:
    shown = " ".join(mxhw_command(command, "--help").out.replace("│", " ").split())
    assert "--extension" in shown
    assert "it is run, and only files named so are" in shown
