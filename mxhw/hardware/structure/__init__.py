"""What designs are made of, as plain records."""

from mxhw.hardware.structure.attention import AttentionUnit, Scores, SoftmaxWeights, Values
from mxhw.hardware.structure.design import DEFAULT_FIFO, Design, Step
from mxhw.hardware.structure.functions import (
    Activation,
    Add,
    Bias,
    Embedding,
    Encoder,
    Hadamard,
    Multiply,
    Norm,
    Permute,
    ReLU,
    Requantize,
    Rope,
    VectorUnit,
)
from mxhw.hardware.structure.model import BlockUse, ModelDesign
from mxhw.hardware.structure.products import Product, ProductFamily, WeightStorage, rows_of
from mxhw.hardware.structure.streams import Control, Converter, Fifo, Fork, Loader
from mxhw.hardware.structure.unit import MemoryShape, Unit

__all__ = [
    "DEFAULT_FIFO",
    "Activation",
    "Add",
    "AttentionUnit",
    "Bias",
    "BlockUse",
    "Control",
    "Converter",
    "Design",
    "Embedding",
    "Encoder",
    "Fifo",
    "Fork",
    "Hadamard",
    "Loader",
    "MemoryShape",
    "ModelDesign",
    "Multiply",
    "Norm",
    "Permute",
    "Product",
    "ProductFamily",
    "ReLU",
    "Requantize",
    "Rope",
    "Scores",
    "SoftmaxWeights",
    "Step",
    "Unit",
    "Values",
    "VectorUnit",
    "WeightStorage",
    "rows_of",
]
