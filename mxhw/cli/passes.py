"""`mxhw passes`: the passes that there are."""

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

__all__ = ["passes"]


@app.command()
def passes(json: JsonOption = False) -> None:
    """List the passes: what each does, what it needs and what it adds.

    Example: `mxhw passes`
    """
    from mxhw.passes import all_passes

    rows = [
        {"name": p.name, "description": p.description, "requires": sorted(p.requires), "provides": sorted(p.provides)}
        for p in all_passes()
    ]
    output = Output(as_json=json)
    if not json:
        cells = [[r["name"], r["description"], ", ".join(r["requires"]), ", ".join(r["provides"])] for r in rows]
        output.table("Passes", ["name", "what it does", "needs", "adds"], cells)
    output.result({"passes": rows})
