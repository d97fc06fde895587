"""Memories of the GEMM units: read-only or loaded weights and metadata, ping-pong activations."""

from mxhw.rtl_templates.memory.activation_buffer import ActivationBuffer
from mxhw.rtl_templates.memory.layer_loader import LayerLoader, LayerWords
from mxhw.rtl_templates.memory.rom import Ram, Rom, check_words

__all__ = ["ActivationBuffer", "LayerLoader", "LayerWords", "Ram", "Rom", "check_words"]
