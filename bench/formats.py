"""Speed of `fake_quantize` as a ratio to a memory copy (`out.copy_(x)` into a tensor that exists).

    python bench/formats.py [--isa avx2] [--dtype bfloat16] [--threads 1] [--rounds 9] [--only 'mx*'] [--no-torch]
                            [--no-peers] [--markdown] [--json FILE]

Everything runs in one process, in interleaved rounds, the copy several times a round; a ratio is that of the medians.
Absolute times mean nothing on a shared machine. Two shapes: 64×4096 stays in cache, 4096×4096 does not; the speed of
the copy counts what is read and what is written. Columns: the C kernels of the chosen instruction set, and torch, the
path without kernels, which gives the same bits, or another library; below them, the speed of the copy. In brackets: a
row's shortest time over its median; far below 1, the machine was busy. Other libraries get the same tensor and return a
new one each time, for none of them writes into one that exists.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from peers import peers
from rich.console import Console
from rich.table import Table
from timing import samples
from torch import Tensor

from mxhw.errors import InputError
from mxhw.files import write_text
from mxhw.formats import Format, kernels, parse_format

FORMATS = (
    "int8", "int8-e8m0", "int4-g128", "int4-g128-asym", "int4-g128-s8", "int8-tensor",
    "mxfp4", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp8-e4m3", "mxfp8-e5m2", "mxint8", "mxint4", "mxint8-b4x8",
    "mxfp4-rceil", "mxfp4-mse", "nvfp4", "nvfp4-46", "razer", "razer-online", "nf4-g64",
    "bitmod3", "bitmod4", "bitmod4-sf32", "bitmod4-clip",
    "dialect4", "dialect4-b16", "dialect4-b64", "dialect4-online", "dialect4-search",
    "fp8-e4m3", "fp8-e4m3-tensor", "fp8-e5m2-unscaled",
    "bf16", "fp16",
)  # fmt: skip
SHAPES = ((64, 4096), (4096, 4096))
COPY = "out.copy_(x)"
PATHS = ("kernel", "torch")
WIDTH = 120  # columns where there is no terminal to ask
Action = Callable[[], object]


def formats_named(pattern: str) -> tuple[dict[str, Format], list[str]]:
    """Return the formats of the table that fit the pattern, and a note for each name that there is no format of."""
    found, notes = {}, []
    for name in FORMATS:
        if fnmatch(name, pattern):
            try:
                found[name] = parse_format(name)
            except InputError:
                notes.append(f"{name}: skipped, no such format here")
    return found, notes


def on(path: str, fmt: Format, x: Tensor, out: Tensor) -> Action:
    """Return the call of a format on an instruction set's kernels, or on "torch"."""

    def run() -> None:
        with kernels.use(path):
            fmt.fake_quantize(x, out=out)

    return run


def measured(shape: tuple[int, int], args: argparse.Namespace, formats: dict[str, Format]) -> dict[str, Any]:
    """Return what a shape gives: the copy, every row's figures by path, and notes."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(getattr(torch, args.dtype))
    out = torch.empty_like(x)
    actions: dict[str, Action] = {COPY: lambda: out.copy_(x)}
    for name, fmt in formats.items():
        if args.isa != "torch" and fmt.has_kernel:
            actions[f"kernel {name}"] = on(args.isa, fmt, x, out)
        if not args.no_torch:
            actions[f"torch {name}"] = on("torch", fmt, x, out)
    others, notes = ({}, []) if args.no_peers else peers(x)
    for name, call in others.items():
        if fnmatch(name.split()[-1], args.only):
            actions[f"peer {name}"] = call
    times = samples(actions, COPY, args.rounds, args.budget)
    figures = {name: figure(values, times[COPY], x.numel()) for name, values in times.items()}
    copy = {**figures.pop(COPY), "gb_s": 2 * x.nbytes / statistics.median(times[COPY]) * 1e-9}
    return {"copy": copy, "rows": figures, "notes": notes}


def figure(values: list[float], copy: list[float], elements: int) -> dict[str, float]:
    """Return the figures of one row."""
    median = statistics.median(values)
    return {
        "ratio": median / statistics.median(copy),
        "median_s": median,
        "least_to_median": min(values) / median,
        "ns_an_element": median / elements * 1e9,
        "samples": len(values),
    }


def cells(results: dict[str, Any], isa: str, spread: bool) -> tuple[list[str], list[list[str]]]:
    """Return the headings and the rows of the table of all shapes, the copy last."""
    keys = list(dict.fromkeys(key for shape in results.values() for key in shape["rows"]))
    names = list(dict.fromkeys(key.split(" ", 1)[1] for key in keys))
    paths = {"kernel": isa, "torch": "torch"}
    headings = ["format"] + [f"{shape} {paths[path]}" for shape in results for path in PATHS]
    rows = []
    for name in names:
        row = [name]
        for result in results.values():
            found = result["rows"]
            own = [found.get(f"{path} {name}") for path in PATHS]
            row += [cell(figures, spread) for figures in (own[0], found.get(f"peer {name}", own[1]))]
        rows.append(row)
    gb_s = [f"{result['copy']['gb_s']:.1f} GB/s" for result in results.values() for _ in PATHS]
    return headings, [*rows, [COPY, *gb_s]]


def table(results: dict[str, Any], args: argparse.Namespace) -> Table | str:
    """Return the table for a terminal, or as Markdown."""
    headings, rows = cells(results, args.isa, spread=not args.markdown)
    if args.markdown:
        lines = [headings, ["---"] + ["--:"] * (len(headings) - 1), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    title = f"fake_quantize, {args.dtype}, {args.threads} thread{'s' * (args.threads > 1)}, × {COPY}"
    shown = Table(title=title, title_justify="left")
    for heading in headings:
        shown.add_column(heading, justify="left" if heading == "format" else "right")
    for row in rows:
        shown.add_row(*row, end_section=row is rows[-2])
    return shown


def cell(row: dict[str, float] | None, spread: bool) -> str:
    """Return a ratio, and its spread if that is wanted; a dash where there is none."""
    if row is None:
        return "–"
    ratio = row["ratio"]
    shown = f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"
    return f"{shown} ({row['least_to_median']:.2f})" if spread else shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--isa", choices=[*kernels.SETS, "torch"], default=kernels.active(), help="kernels (default: the best here)")
    add("--dtype", choices=["float32", "bfloat16"], default="float32")
    add("--threads", type=int, default=1, help="torch threads (default: 1)")
    add("--rounds", type=int, default=9, help="interleaved rounds (default: 9)")
    add("--only", default="*", metavar="PATTERN", help="only formats like this, for instance 'mx*'")
    add("--no-torch", action="store_true", help="leave the path without kernels out")
    add("--no-peers", action="store_true", help="leave the other libraries out")
    add("--budget", type=float, default=4.0, help="seconds a row and shape; slow rows get fewer rounds (default: 4)")
    add("--markdown", action="store_true", help="print the table as Markdown, without spreads")
    add("--json", type=Path, metavar="FILE", help="write every figure to FILE")
    args = parser.parse_args()
    if args.isa != "torch" and args.isa not in kernels.available():
        parser.error(
            f"--isa {args.isa}: there are no such kernels here, but {', '.join(kernels.available()) or 'none'}"
        )
    torch.set_num_threads(args.threads)
    formats, notes = formats_named(args.only)
    results = {f"{rows}×{columns}": measured((rows, columns), args, formats) for rows, columns in SHAPES}
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table(results, args), soft_wrap=args.markdown)
    for result in results.values():
        notes += [note for note in result.pop("notes") if note not in notes]
    for note in notes:
        console.print(note, markup=False, highlight=False)
    if args.json is not None:
        settings = {"isa": args.isa, "dtype": args.dtype, "threads": args.threads, "rounds": args.rounds}
        write_text(args.json, json.dumps({**settings, "shapes": results, "notes": notes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
