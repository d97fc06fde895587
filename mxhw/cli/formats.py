"""`mxhw formats`: the number formats that there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mxhw.cli.app import ExtensionOption, JsonOption, app
from mxhw.cli.console import Output

__all__ = ["formats"]

EXAMPLES = (
    "int8", "int8-e8m0", "int6-g128-s8", "int4-g128", "int4-g128-asym", "mxfp4", "mxfp6-e2m3", "mxfp6-e3m2",
    "mxfp8-e4m3", "mxfp8-e5m2", "mxint8", "mxint4", "bitmod3", "bitmod4", "bitmod4-sf16",
    "mxfp4-rceil", "mxfp4-b16", "mxint4-b4x8", "bitmod3-sv8", "bitmod4-clip", "bitmod4-g64", "bitmod3-oneterm-clip",
    "dialect4-search",
    "dialect4", "dialect4-b16", "dialect4-b64", "dialect4-online", "nvfp4", "nvfp4-46",
    "razer", "razer-online", "nf4-g64", "nf4-g64-s8", "fp8-e4m3", "fp8-e5m2-tensor", "fp16", "bf16", "fp32",
    "bitmod4*256+bitmod3*768",
)  # fmt: skip
SHAPE = (1024, 4096)
UNITS = {"bitmod": "bit-serial", "dialect": "DialectFP4", None: "–"}
KERNELS = {True: "C kernel", False: "torch"}


@app.command()
def formats(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these, for instance `int4-g64`.")
    ] = None,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """List number formats with the true bits an element that they cost.

    Example: `mxhw formats`, or `mxhw formats bitmod4 int4-g64-asym dialect4-b16`, or, for formats by output channel,
    `mxhw formats bitmod4*64+bitmod3*64`, or, with a format of your own,
    `mxhw formats --extension examples/own_format.py lns4`.
    """
    from mxhw.formats import known_formats

    output = Output(as_json=json)
    rows = [_row(name) for name in names or EXAMPLES]
    families = [] if names else [{"names": pattern, "description": text} for pattern, text in known_formats()]
    if not json:
        if families:
            cells = [[family["names"], family["description"]] for family in families]
            output.table("Number formats", ["names", "what they are"], cells)
        title = f"True bits of a weight of {SHAPE[0]}×{SHAPE[1]}: codes, scales, selectors, everything that is stored"
        if any("*" in row["name"] for row in rows):
            title += "; with formats by channel, of one with their channels"
        cells = [[row["name"], f"{row['bits']:.4f}", UNITS[row["unit"]], KERNELS[row["kernel"]]] for row in rows]
        output.table(title, ["name", "bits an element", "unit for such weights", "quantized by"], cells)
    output.result({"formats": rows, "families": families})


def _row(name: str) -> dict[str, Any]:
    from mxhw.arithmetic import weight_unit
    from mxhw.formats import ChannelGroups, parse_format

    format_ = parse_format(name)
    channels = format_.channels if isinstance(format_, ChannelGroups) else SHAPE[0]
    bits = format_.bits((channels, SHAPE[1])) / (channels * SHAPE[1])
    return {"name": name, "bits": bits, "unit": weight_unit(format_), "kernel": format_.has_kernel}
