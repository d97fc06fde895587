"""A placed model as parts that have times."""

from collections.abc import Hashable

from mxhw.hardware.machine.passes import Part
from mxhw.hardware.machine.placement import KEPT_LAYERS
from mxhw.hardware.machine.port import Port
from mxhw.hardware.machine.tables import Tables, signature
from mxhw.hardware.structure import ModelDesign

__all__ = ["parts_of"]

# Cycles between parts, of queues and control that stand in no part (`passes/emit/language`, `rtl_templates/control`).
_ENTER = 1  # from the embedding to the first layer
_LOOP = 3  # from a layer's last unit to its first: a queue of registers, one in memory
_CHOOSE = 4  # from the logits through the arg-max to the next token, less what the last layer does not loop


def parts_of(model: ModelDesign, port: Port | None, keys: int, *, constants_loaded: bool = False) -> tuple[Part, ...]:
    """Return front, blocks and back; those that are built alike share their tables.

    Parameters
    ----------
    model : with its memories where they lie.
    port : to memory outside; None where all lies inside.
    keys : tokens of the longest sequence.
    constants_loaded : constants of the layers come through the port.
    """
    tables: dict[Hashable, Tables] = {}
    loops = {"front": _ENTER, "back": _CHOOSE}
    return tuple(
        Part(
            name=name,
            design=design,
            tables=tables.setdefault(signature(design), Tables(design, keys)),
            port=port,
            layers=layers,
            constants=min(KEPT_LAYERS, layers) if constants_loaded and name not in loops else 0,
            loop=loops.get(name, _LOOP),
        )
        for name, (design, layers) in model.parts.items()
    )
