"""`mxhw formats`: the number formats that there are."""

from typing import Annotated, Any

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

__all__ = ["formats"]


@app.command()
def formats(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Show only these, for instance `int4-g128`.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List number formats with the true bits an element they cost.

    Example: `mxhw formats`, or `mxhw formats bitmod4 int4-g64-asym dialect4-b16`.
    """
    from mxhw.formats import known_formats, parse_format

    output = Output(as_json=json)
    listed = [(name, parse_format(name).name) for name in names] if names else known_formats()
    rows: list[dict[str, Any]] = []
    for name, description in listed:
        try:
            format_ = parse_format(name)
        except ValueError:
            if names:
                raise
            rows.append({"name": name, "description": description})  # a pattern that stands for many names
            continue
        shape = (1024, 4096)
        bits = format_.bits(shape) / (shape[0] * shape[1])
        rows.append(
            {"name": name, "description": description, "bits": bits, "exact_hardware": format_.has_integer_form}
        )
    if not json:
        cells = [
            [
                row["name"],
                f"{row['bits']:.4f}" if "bits" in row else "",
                {True: "yes", False: "no", None: ""}[row.get("exact_hardware")],
                row["description"],
            ]
            for row in rows
        ]
        title = "Number formats (bits: of a 1024×4096 weight, everything that is stored)"
        output.table(title, ["name", "bits", "exact integers", "what it is"], cells)
    output.result({"formats": rows})
