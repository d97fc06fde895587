"""Lets transformers read mxhw's native checkpoints after `import mxhw`, without importing transformers.

transformers finds the reader of a checkpoint by the name in its config.json, in a table that other packages may add
to (`transformers.quantizers.auto`). Where transformers is loaded already, the entry is made at once; otherwise a
finder on `sys.meta_path` makes it right after that module has run, whoever imports it and whenever. Until then nothing
but this file is loaded.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from mxhw.errors import MxhwWarning

__all__ = ["install"]

_TABLE = "transformers.quantizers.auto"
_READER = "mxhw.models.export.quantizer"


def install() -> None:
    """Make the entry now if the table is there, or as soon as it is."""
    if _TABLE in sys.modules:
        _register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def _register() -> None:
    try:
        import_module(_READER).register()
    except Exception as error:  # whatever a future transformers changes, importing it must go on working
        warnings.warn(f"transformers will not read native checkpoints of mxhw: {error}", MxhwWarning, stacklevel=2)


class _AfterImport(MetaPathFinder):
    """Finds the table's module as the other finders do, and adds a step after it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _TABLE:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: ModuleType) -> None:
                run(module)
                _register()

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec
