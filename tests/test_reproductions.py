"""The examples that compute published figures again run, print the figures, and the README shows what they print."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mxhw.hardware.published import CORRECTIONS, MODELS


def ran(repository: Path, example: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "examples" / example), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=repository)


Main = Callable[..., int]


@pytest.fixture
def main(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Main:
    """An example's main function, in this process: starting another takes longer than what it does."""

    def run(example: str, *words: str) -> int:
        spec = importlib.util.spec_from_file_location(Path(example).stem, repository / "examples" / example)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [example, *words])
        code: int = module.main()
        return code

    return run


@pytest.fixture(scope="module")
def printed(repository: Path) -> dict[str, str]:
    examples = ("reproduce_bitmod.py", "reproduce_blockdialect.py")
    results = {example: ran(repository, example, "--markdown") for example in examples}
    assert all(result.returncode == 0 for result in results.values()), results
    return {example: result.stdout for example, result in results.items()}


def rows(text: str) -> list[list[str]]:
    """Return the cells of all lines of markdown tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_twelve_totals_are_printed_beside_the_published_ones(printed: dict[str, str]) -> None:
    assert "60 of the 60 totals" in printed["reproduce_bitmod.py"]
    totals = [row for row in rows(printed["reproduce_bitmod.py"]) if re.fullmatch(r"[\d,]{9,}", row[3 % len(row)])]
    assert len(totals) == 12
    for row in totals:
        assert row[3] == row[4] != row[5]


def test_every_correction_is_printed_with_its_reason(printed: dict[str, str]) -> None:
    found = rows(printed["reproduce_bitmod.py"])
    for number, correction in enumerate(CORRECTIONS, 1):
        (row,) = [row for row in found if row[0] == f"{number} {correction.title}"]
        assert row[-1] == correction.why


def test_all_figures_are_there_for_a_program(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("reproduce_bitmod.py", "--json", "--model", "Phi-2") == 0
    figures = json.loads(capsys.readouterr().out)
    assert len(figures["totals"]) == len(figures["energies"]) == 60
    assert figures["corrections"]["model"] == "Phi-2"
    assert len(figures["corrections"]["rows"]) == len(CORRECTIONS) + 1
    last = figures["corrections"]["rows"][-1]["cycles"]["FP16"]
    (total,) = [
        row
        for row in figures["totals"]
        if (row["model"], row["phase"], row["accelerator"]) == ("Phi-2", "decode", "FP16")
    ]
    assert last["decode"][0] == total["stricter"]
    assert main("reproduce_blockdialect.py", "--json", "--library", "ecp5") == 0
    libraries = json.loads(capsys.readouterr().out)
    assert list(libraries) == ["ecp5"]
    assert {row["mac"] for row in libraries["ecp5"]} >= {"INT4", "INT8", "FP4 (E2M1)", "FP6"}


def test_a_terminal_gets_all_totals(main: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("reproduce_bitmod.py", "--all") == 0
    out = capsys.readouterr().out
    for model in MODELS:
        assert len(re.findall(rf"│ {model.name} +│ (?:prefill|decode) ", out)) >= 10


@pytest.mark.parametrize(
    ("example", "words", "message"),
    [
        ("reproduce_bitmod.py", ("--model", "Llama-2-70B"), "error: no model 'Llama-2-70B' in the BitMoD paper"),
        ("reproduce_blockdialect.py", ("--library", "sky130"), "no components were measured in library 'sky130'"),
        ("reproduce_blockdialect.py", ("--liberty", "nowhere.lib"), "nowhere.lib"),
    ],
)
def test_what_is_not_there_is_refused_in_a_line(
    main: Main, capsys: pytest.CaptureFixture[str], example: str, words: tuple[str, ...], message: str
) -> None:
    assert main(example, *words) == 2
    written = capsys.readouterr()
    assert message in written.err
    assert len(written.err.splitlines()) == 1
    assert not written.out


def unprinted(text: str, example: str, output: str) -> tuple[int, list[list[str]]]:
    """Return how many rows of a README's tables in sections that name an example begin as printed ones, and the others.

    Those are rows that begin so and are not printed.
    """
    sections = [part for part in re.split(r"^#+ ", text, flags=re.MULTILINE) if f"examples/{example}" in part]
    lines = rows(output)
    begun = {row[0] for row in lines if set(row[0]) - set("-:")}
    found = [row for part in sections for row in rows(part) if row[0] in begun]
    return len(found), [row for row in found if row not in lines]


def test_the_readme_shows_what_is_printed(repository: Path, printed: dict[str, str]) -> None:
    text = (repository / "README.md").read_text()
    if "examples/reproduce_bitmod.py" not in text:
        pytest.skip("the README shows no reproduction yet")
    checked = [unprinted(text, example, output) for example, output in printed.items()]
    assert [others for _, others in checked] == [[], []]
    assert sum(count for count, _ in checked) >= 12


def test_a_figure_that_is_not_printed_is_found(printed: dict[str, str]) -> None:
    output = printed["reproduce_bitmod.py"]
    text = f"## Costs\n\npython examples/reproduce_bitmod.py\n\n{output}\n## Limits\n\n| FP16 | 1 |\n"
    count, others = unprinted(text, "reproduce_bitmod.py", output)
    assert count > 30
    assert not others
    changed = text.replace("3,156,574,208 | 3,156,574,208", "3,156,574,208 | 3,156,574,209")
    _, (found,) = unprinted(changed, "reproduce_bitmod.py", output)
    assert found[:3] == ["Llama-2-7B", "prefill", "FP16"]
