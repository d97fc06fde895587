"""`mxhw search`: the search alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mxhw.cli.app import ExtensionOption, JsonOption, OutOption, app
from mxhw.cli.console import Output

__all__ = ["search"]


@app.command()
def search(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file such as examples/demo.toml.")],
    out: OutOption = Path("build/search"),
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all; default: the config's.")] = None,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Search formats per layer and array shapes; writes study.db, assignment.json and config.toml.

    Stopped by Ctrl-C or killed, the same command goes on; with more trials it continues the study. Open the study with
    `optuna-dashboard sqlite:///DIR/study.db`.

    Formats without a hardware unit are searched in family `emulated` with objective `bits`. `extensions` in CONFIG
    names Python files that register formats of your own; they are run.

    Example: `mxhw search examples/demo.toml --out build/search --trials 60`
    """
    from mxhw.flow import load_config, prepare, run_search, write_config
    from mxhw.passes.transform import WeightCache

    output = Output(as_json=json)
    settings = load_config(config, extension or ())
    if trials is not None:
        settings = settings.model_copy(update={"search": settings.search.model_copy(update={"trials": trials})})
    prepared = prepare(settings, output.progress, simulate=False)
    found, _ = run_search(prepared, out / "study.db", WeightCache(), output.progress)
    write_config(settings, out / "config.toml")
    found.choice.record.assignment.save(out / "assignment.json")
    if not json:
        rows = [
            [
                str(record.number),
                str(record.assignment.notes["family"]),
                f"{record.perplexity:.4f}",
                f"{record.outcome['ledger']['bits_per_weight']:.3f}",
                f"{record.outcome['ledger']['bits_per_input']:.3f}",
                f"{record.values[1]:,.0f}" if record.values[1] >= 1000 else f"{record.values[1]:.4g}",
                "chosen" if record.number == found.choice.record.number else "",
            ]
            for record in found.front
        ]
        columns = ["trial", "family", "perplexity", "bits a weight", "bits an input", settings.search.objective, ""]
        output.table(f"Front of {len(found.records)} designs", columns, rows)
        output.say(f"chosen: {found.choice.reason}")
        if found.infeasible:
            output.say(f"{found.infeasible} designs did not fit the platform")
        output.say(f"assignment: {out / 'assignment.json'}")
    output.result(
        {
            "trials": len(found.records),
            "infeasible": found.infeasible,
            "front": [record.to_json() for record in found.front],
            "chosen": found.choice.record.to_json(),
            "reason": found.choice.reason,
            "study": str(out / "study.db"),
            "assignment": str(out / "assignment.json"),
        }
    )
