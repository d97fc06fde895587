"""What the README says can be typed, can be typed."""

import re
from pathlib import Path

from mxhw.cli.app import COMMANDS


def readme(repository: Path) -> str:
    return (repository / "README.md").read_text()


def test_the_python_example_runs(repository: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", readme(repository), re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})


def test_every_command_that_it_names_exists_and_none_is_left_out(repository: Path) -> None:
    named = set(re.findall(r"`mxhw ([a-z]+)", readme(repository)))
    assert named == set(COMMANDS)


def test_every_make_target_that_it_names_exists(repository: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", readme(repository))) - {"and", "is"} <= targets


def test_every_file_that_it_names_is_here(repository: Path) -> None:
    for name in re.findall(r"\((examples/[\w./]+)\)", readme(repository)):
        assert (repository / name).is_file()
