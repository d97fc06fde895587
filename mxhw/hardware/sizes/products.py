"""Features of a product: processing elements, decoders, drain, sequencer, and what stands around the array.

Not counted, like all memories: weights, metadata, activations, and the queues and buffers of several rows. A product
that says the width of its ``port`` has its loader inside; that of another one is a record of its own. Sets of weights
of experts need addresses only; storage in tiles is counted as that of layers.
"""

from mxhw.hardware.sizes.features import Fabric, Features, address, register_features
from mxhw.hardware.structure import Product
from mxhw.hardware.structure.products import SCALE_BITS
from mxhw.hardware.structure.unit import QUEUE_WORDS, queue

__all__: list[str] = []

_MULTIPLIER_BITS = 8  # of a group's scale
_GEMM_TILES = 5  # row tiles whose scales wait: in the buffer, the array, the drain, the output
_SHIFT_STAGES = 4  # of the shift by a token's scale


@register_features(Product)
def _product(unit: Product, fabric: Fabric) -> Features:
    elements, products = unit.rows * unit.columns, unit.rows * unit.columns * unit.lanes
    kind = unit.weight_type if unit.weight_type.startswith(("fp", "dialect")) else "int"
    amounts: dict[str, float] = {
        "one": 1,
        f"products {kind}": products,
        f"decoder {kind}": unit.lanes * (unit.columns + (unit.rows if unit.family == "dialect" else 0)),
        "drain": elements * unit.accumulator_bits,
        "above": (unit.rows > 1) * unit.columns * unit.accumulator_bits * (unit.rows - 1),
        "output": unit.columns * unit.output_bits,
        "address": _addresses(unit),
    }
    if unit.family == "dialect":
        amounts |= {"element dialect": elements, "fold": elements * unit.accumulator_bits, "exponent": unit.columns}
    else:
        amounts |= _bit_serial(unit, elements, fabric)
    return Features("Product", amounts | _around(unit, fabric))


def _bit_serial(unit: Product, elements: int, fabric: Fabric) -> dict[str, float]:
    """Return what bit-serial arrays have beside their products."""
    found: dict[str, float] = {
        "step": elements * unit.terms,
        "scaled token": unit.columns * unit.output_bits * _SHIFT_STAGES,
    }
    sums = unit.accumulator_bits
    if unit.scaled:
        groups = address(unit.chunks * unit.lanes // unit.block)
        sums -= _MULTIPLIER_BITS + groups
        found |= {
            "element scaled": elements,
            "group": elements * sums,
            "accumulator": elements * unit.accumulator_bits,
            "scale": unit.columns,
        }
    else:
        found["sum"] = elements * sums
    waiting = (_GEMM_TILES + (unit.rows > 1) + 3 * _reorders(unit)) * unit.rows - 1
    found["token scales"] = fabric.queue(waiting, SCALE_BITS) if waiting < QUEUE_WORDS else 0
    return found


def _around(unit: Product, fabric: Fabric) -> dict[str, float]:
    """Return what stands around the array where there are several rows or layers."""
    found: dict[str, float] = {}
    if unit.rows > 1:
        beats = -(-unit.k // unit.lanes)
        bits = unit.lanes * unit.input_bits + unit.input_metadata_bits
        short = not queue("", beats, bits) and beats > 1
        found["row"] = unit.rows - 1
        found["row address"] = (unit.rows - 1) * address(beats)
        found["row words"] = (unit.rows - 1) * fabric.queue(beats - 1, bits) * short
    if _reorders(unit):
        found["reorder"] = 1
    if unit.layers > 1 or unit.experts > 1:
        found["layer"] = 1
    if unit.port:
        width = unit.columns * unit.lanes * unit.code_bits
        found["loader"] = 1
        found["loaded"] = (-(-width // unit.port) - 1) * unit.port
    return found


def _reorders(unit: Product) -> bool:
    """Whether sums leave the array in another order than token after token."""
    return unit.rows > 1 and unit.column_tiles > 1


def _addresses(unit: Product) -> int:
    """Return the bits of all counters and addresses: of the loop nest, of memories, and what travels with a step."""
    kept = {"inside": unit.layers, "layers": min(2, unit.layers), "tiles": 2}[unit.storage] * unit.experts
    tiles = kept * unit.column_tiles
    loops = address(unit.chunks // unit.blocks) + address(unit.blocks) + address(unit.column_tiles)
    memories = address(tiles * unit.chunks) + (address(tiles * unit.blocks) if unit.metadata_bits else 0)
    return loops + memories + 4 * address(unit.chunks) + 2 * address(unit.terms)
