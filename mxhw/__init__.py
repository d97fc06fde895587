"""mxhw: from a trained language model to a mixed-precision accelerator that is proven bit for bit.

Heavy imports (torch, transformers, amaranth) happen on first use of a name, so that `import mxhw` stays quick.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from mxhw import transformers_hook

__version__ = "0.1.0"

# In a clone, `passes`, `rtl_templates` and `sim` stand beside this package; under it they are `mxhw.passes` and so on.
_ROOT = Path(__file__).resolve().parent.parent
if (_ROOT / "pyproject.toml").is_file():
    __path__.append(str(_ROOT))

_EXPORTS = {
    "capture": "mxhw.models",
    "capture_decoder": "mxhw.models",
    "Graph": "mxhw.ir",
    "Assignment": "mxhw.ir",
    "Platform": "mxhw.hardware",
    "InputError": "mxhw.errors",
}
_ROOMS = frozenset(
    {"arithmetic", "errors", "flow", "formats", "hardware", "ir", "models", "passes", "report", "rtl_templates", "sim"}
)

__all__ = ["Assignment", "Graph", "InputError", "Platform", "capture", "capture_decoder"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    if name in _ROOMS:
        return import_module(f"mxhw.{name}")
    raise AttributeError(f"module 'mxhw' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, *_ROOMS})


transformers_hook.install()
