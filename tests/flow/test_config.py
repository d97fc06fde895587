"""The configuration is checked key by key, and its effective form reproduces it."""

from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.flow.config import Config, load_config, write_config


def config_of(folder: Path, text: str) -> Config:
    path = folder / "config.toml"
    path.write_text(text)
    return load_config(path)


def test_an_empty_file_gives_every_default(tmp_path: Path) -> None:
    assert config_of(tmp_path, "") == Config()


def test_the_effective_config_reads_back_equal(tmp_path: Path) -> None:
    config = config_of(tmp_path, "seed = 3\n[search]\ntrials = 5\nrows = [2, 4]\n[platform]\nbudget = { area = 5e4 }\n")
    write_config(config, tmp_path / "effective.toml")
    assert load_config(tmp_path / "effective.toml") == config


def test_the_demo_config_is_valid(repository: Path) -> None:
    assert load_config(repository / "examples" / "demo.toml").model == "demo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("serach = 1", "unknown key 'serach'; did you mean 'search'?"),
        ("[search]\ntrails = 3", r"unknown key 'search.trails'; did you mean 'trials'\?"),
        ("[search]\ntrials = 0", "search.trials = 0: input should be greater than or equal to 1"),
        ("[search]\nstrategy = 'speed'", "search.strategy = 'speed': input should be 'hybrid'"),
        ("[search]\nrows = [0]", r"search.rows = \[0\]: every entry must be at least 1"),
        ("seed = 'x'", "seed = 'x': input should be a valid integer"),
        ("[emit]\nstall = 1.5", "emit.stall = 1.5: input should be less than 0.9"),
        ("x ==", "is not TOML"),
    ],
)
def test_a_bad_config_is_one_line_that_names_the_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        config_of(tmp_path, text)
    assert "\n" not in str(error.value)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_config(tmp_path / "none.toml")


def test_relative_paths_are_taken_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x" * 100)
    config = config_of(tmp_path, "[data]\ntest = 'text.txt'\n")
    assert config.data.test == str(tmp_path / "text.txt")
    assert config.data.search == "search"
