"""Whole models on a platform: where weights and caches lie, the port to memory outside, prefill and decoding.

    model + platform  →  placement, port  →  cycles, bits, energy, area of a prefill and of the tokens behind it

What is modelled stands beside the code that does: what may lie where (:mod:`.placement`), what moves
(:mod:`.traffic`) and how (:mod:`.port`), what overlaps in a layer (:mod:`.passes`) and between layers and tokens
(:mod:`.timing`), what is spent (:mod:`.energy`). Left out: refresh and row misses of memory outside, its granularity,
and a host's time.
"""

from mxhw.hardware.machine.machine import DEFAULT_CHUNK, Machine, machine_of
from mxhw.hardware.machine.placement import Placement, candidates
from mxhw.hardware.machine.port import Port
from mxhw.hardware.machine.report import MachineCost, PhaseCost, StepCost
from mxhw.hardware.machine.roofline import Roofline

__all__ = [
    "DEFAULT_CHUNK",
    "Machine",
    "MachineCost",
    "PhaseCost",
    "Placement",
    "Port",
    "Roofline",
    "StepCost",
    "candidates",
    "machine_of",
]
