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

    listed = all_passes()
    rows = [
        {"name": p.name, "description": p.description, "requires": sorted(p.requires), "provides": sorted(p.provides)}
        for p in listed
    ]
    output = Output(as_json=json)
    if not json:
        cells = [[p.name, p.description, ", ".join(sorted(p.requires)), ", ".join(sorted(p.provides))] for p in listed]
        output.table("Passes", ["name", "what it does", "needs", "adds"], cells)
    output.result({"passes": rows})
