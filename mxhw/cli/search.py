"""`mxhw search`: the search alone, in one process or many, and trials of it again."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mxhw.cli.app import ExtensionOption, JsonOption, OutOption, app
from mxhw.cli.console import Output
from mxhw.errors import InputError

if TYPE_CHECKING:
    from mxhw.flow.prepare import Prepared
    from mxhw.flow.search import Searched

__all__ = ["search"]


@app.command()
def search(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file such as examples/demo.toml.")],
    out: OutOption = Path("build/search"),
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all; default: the config's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine that share the trials.")] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="Where the study is: NAME.db (SQLite), NAME.log (journal), or postgresql://USER@HOST/DATABASE for "
            "workers on many machines. Default: study.db in the output folder.",
        ),
    ] = None,
    study: Annotated[str, typer.Option(metavar="NAME", help="Name of the study in its storage.")] = "mxhw",
    replay: Annotated[
        int | None, typer.Option(metavar="TRIAL", min=0, help="Evaluate this trial again; compare with the study.")
    ] = None,
    join: Annotated[bool, typer.Option("--join", hidden=True, help="Work on the study, write no results.")] = False,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Search formats per unit and array shapes for a model on a platform; writes a study, a report and the best design.

    The same command on other machines, with the same `--storage postgresql://…`, joins the study: every node works on
    it until it holds all trials. Stopped by Ctrl-C or killed, the same command goes on; with more `--trials` it
    continues. Trials of a process that died are tried again. Open the study with
    `optuna-dashboard sqlite:///DIR/study.db`.

    Formats without a hardware unit are searched in family `emulated` with objective `bits`. `extensions` in CONFIG
    names Python files that register formats of your own; they are run.

    Writes assignment.json (to emit, evaluate or cost), search.json, search.html, its pictures and config.toml.

    Example: `mxhw search examples/demo.toml --out build/search --trials 60 --workers 2`

    Again: `mxhw search examples/demo.toml --out build/search --replay 17`
    """
    from mxhw.flow import load_config, prepare, run_search
    from mxhw.flow.workers import working

    output, started = Output(as_json=json), perf_counter()
    settings = load_config(config, extension or ())
    if trials is not None:
        settings = settings.model_copy(update={"search": settings.search.model_copy(update={"trials": trials})})
    where: Path | str = out / "study.db" if storage is None else storage
    if join and workers > 1:
        raise InputError("--join is of one process; leave out --workers")
    if replay is not None:
        _replay(prepare(settings, output.progress, simulate=False), where, study, replay, output)
        return
    command = [str(config), "--out", str(out), "--storage", str(where), "--study", study]
    command += ["--trials", str(settings.search.trials)]
    for file in extension or ():
        command += ["--extension", str(file)]
    with working(workers - 1, command, out):
        prepared = prepare(settings, output.progress, simulate=False)
        found = run_search(prepared, where, name=study, progress=output.progress)
    if not join:
        _write(prepared, found, out, output, f"mxhw search {config} --out {out}", perf_counter() - started)


def _write(prepared: Prepared, found: Searched, out: Path, output: Output, command: str, seconds: float) -> None:
    from mxhw.flow import write_config
    from mxhw.flow.search import write_results

    result, settings = found.result, prepared.config
    write_config(settings, out / "config.toml")
    result.choice.record.assignment.save(out / "assignment.json")
    write_results(prepared, found, out, command=command, seconds=seconds)
    objectives = settings.search.objectives
    if not output.as_json:
        rows = [
            [
                str(record.number),
                str(record.assignment.notes["family"]),
                f"{record.perplexity:.4f}",
                f"{record.outcome['ledger']['bits_per_weight']:.3f}",
                f"{record.outcome['ledger']['bits_per_input']:.3f}",
                *(_number(value) for value in record.values),
                "chosen" if record.number == result.choice.record.number else "",
            ]
            for record in result.front
        ]
        columns = ["trial", "family", "perplexity", "bits a weight", "bits an input", *objectives, ""]
        output.table(f"Front of {len(result.records)} designs", columns, rows)
        output.say(f"chosen: {result.choice.reason}")
        if result.infeasible:
            output.say(f"{result.infeasible} designs did not fit the platform or broke a bound")
        if result.stopped:
            output.say(f"{result.stopped} designs were dominated on a part of the text, and stopped")
        output.say(f"assignment: {out / 'assignment.json'}; report: {out / 'search.html'}")
    output.result(
        {
            "trials": len(result.trials),
            "evaluated": len(result.records),
            "infeasible": result.infeasible,
            "stopped": result.stopped,
            "front": [record.to_json() for record in result.front],
            "chosen": result.choice.record.to_json(),
            "reason": result.choice.reason,
            "assignment": str(out / "assignment.json"),
            "report": str(out / "search.html"),
        }
    )


def _replay(prepared: Prepared, where: Path | str, name: str, number: int, output: Output) -> None:
    """Evaluate a trial again; exit code 1 if a figure is another one."""
    from mxhw.flow.search import replay_trial

    again = replay_trial(prepared, where, name, number, progress=output.progress)
    if not output.as_json:
        rows = [
            [
                figure,
                _exact(value),
                _exact(again.again.get(figure)),
                "" if figure not in again.different else "different",
            ]
            for figure, value in again.stored.items()
        ]
        output.table(f"Trial {number}", ["figure", "study", "again", ""], rows)
    result: dict[str, Any] = {
        "trial": number,
        "stored": dict(again.stored),
        "again": dict(again.again),
        "different": again.different,
    }
    output.result(result)
    if again.different:
        output.say(f"{len(again.different)} figures are not those of the study: {', '.join(again.different)}")
        raise typer.Exit(1)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _exact(value: float | None) -> str:
    return "–" if value is None else f"{value:.12g}"
