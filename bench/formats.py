"""Speed of `fake_quantize` as a ratio to a memory copy (`out.copy_(x)` into a tensor that exists), one thread.

    python bench/formats.py [--size 1024] [--rounds 5]

All formats run in one process, in interleaved rounds; the median of the rounds counts. Absolute times mean nothing on a
shared machine; the ratio does.
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from timing import interleaved

from mxhw.formats import parse_format

FORMATS = (
    "int8", "int8-e8m0", "int4-g128", "int4-g128-asym", "int6-g128-s8", "mxfp4", "mxfp6-e2m3", "mxfp8-e4m3", "mxint8",
    "bitmod3", "bitmod4", "dialect4", "dialect4-online",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns of the float32 tensor (default: 1024)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    x = torch.randn(args.size, args.size, generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(x)
    actions: dict[str, Callable[[], object]] = {"out.copy_(x)": lambda: out.copy_(x)}
    for name in FORMATS:
        actions[name] = partial(parse_format(name).fake_quantize, x, out=out)
    times = interleaved(actions, args.rounds)
    copy = times["out.copy_(x)"]
    table = Table(title=f"fake_quantize, float32 {args.size}×{args.size}, one thread, median of {args.rounds} rounds")
    table.add_column("format")
    table.add_column("× copy", justify="right")
    table.add_column("ns an element", justify="right")
    for name, median in times.items():
        table.add_row(name, f"{median / copy:.1f}", f"{median / x.numel() * 1e9:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
