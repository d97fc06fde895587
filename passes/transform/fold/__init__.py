"""From the integers of a whole model to a design that generates text: layers folded onto one, and their control."""

from mxhw.passes.transform.fold.generate import Conversation, continued, greedy
from mxhw.passes.transform.fold.language import CONTROL, Domain, LanguageGraph, language_graph
from mxhw.passes.transform.fold.layers import Layers, match_layers
from mxhw.passes.transform.fold.weights import WEIGHTS, with_weight_port

__all__ = [
    "CONTROL",
    "WEIGHTS",
    "Conversation",
    "Domain",
    "LanguageGraph",
    "Layers",
    "continued",
    "greedy",
    "language_graph",
    "match_layers",
    "with_weight_port",
]
