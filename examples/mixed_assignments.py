"""Formats of one's own choice for every site of a model: two assignment files, written from its graph.

    python examples/mixed_assignments.py MODEL OUT
    mxhw evaluate MODEL --assignment OUT/bitmod-mixed.json --arithmetic all
    mxhw emit MODEL --lm --assignment OUT/bitmod-mixed.json --out build/lm

- `bitmod-mixed`: BitMoD weights of 4 and of 3 bits, layer by layer in turn, and of 4 bits in the head; INT8 inputs.
  Groups are of 128, 64 or 32 weights: rows are padded to whole groups, and the size is taken that stores least.
- `dialect`: DialectFP4 in all linear layers, weights and inputs.

Operands of attention are INT8 in both. MODEL is a Hugging Face directory, a hub id or `demo`; a graph names the sites,
and an assignment gives each a format. It is a JSON file that may also be written by hand.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mxhw.errors import InputError
from mxhw.flow.assignments import layered_assignment
from mxhw.ir import Assignment, Graph
from mxhw.models import capture, load_model
from mxhw.passes.analysis import ledger

GROUPS = (128, 64, 32)


def bitmod_mixed(graph: Graph) -> Assignment:
    """BitMoD, every second layer with 3 bits."""
    designs = [layered_assignment(graph, (f"bitmod4-g{group}", f"bitmod3-g{group}"), "int8-e8m0") for group in GROUPS]
    return min(designs, key=lambda design: ledger(graph, design).weight_bits)


def dialect(graph: Graph) -> Assignment:
    """DialectFP4 throughout: the least error of weights, the two-stage rule for inputs."""
    return layered_assignment(graph, ("dialect4",), "dialect4-online")


ASSIGNMENTS: dict[str, Callable[[Graph], Assignment]] = {"bitmod-mixed": bitmod_mixed, "dialect": dialect}


def write_assignments(graph: Graph, out: Path) -> dict[str, Path]:
    """Write the files of a model into a folder; name → file."""
    out.mkdir(parents=True, exist_ok=True)
    files = {name: out / f"{name}.json" for name in ASSIGNMENTS}
    for name, file in files.items():
        assignment = ASSIGNMENTS[name](graph)
        assignment.check(graph)
        assignment.save(file)
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder that the files are written to")
    given = parser.parse_args()
    try:
        files = write_assignments(capture(load_model(given.model), batch=1, sequence=16), given.out)
    except InputError as error:
        parser.exit(2, f"{error}\n")
    for file in files.values():
        formats = Counter(Assignment.load(file).formats.values())
        print(f"{file}: {', '.join(f'{name} at {count} sites' for name, count in formats.items())}")


if __name__ == "__main__":
    main()
