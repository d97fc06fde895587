"""Lay the packages of the clone out as an installed `mxhw`, for tools that read source trees (import-linter, mypy).

    python tests/assembled.py FOLDER

makes FOLDER/mxhw by the mapping in pyproject.toml. It copies; nothing is executed.
"""

import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def assemble(folder: Path) -> Path:
    """Return FOLDER/mxhw, made anew."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    target = folder / "mxhw"
    shutil.rmtree(target, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    for package, source in sorted(settings["package-dir"].items()):
        shutil.copytree(ROOT / source, folder.joinpath(*package.split(".")), ignore=ignore)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(assemble(Path(sys.argv[1])))
