"""Cycles of units and designs in closed form, equal to those of the RTL in runs without stalls.

    record of a unit   →  a rule: beats that come → beats that leave       (:mod:`.functions`, :mod:`.products`, …)
    design             →  its units in order                               (:mod:`.compose`)

What a beat waits for is never simulated: a token's beats are a start and offsets that depend on sizes only, so that
what is computed for each token is a few numbers. Not described here: queues that are too short (see
:mod:`mxhw.passes.emit.dataflow.fifos`), and stalls from outside: :mod:`.stalls` adds the room that queues and buffers
have, and :mod:`mxhw.sim.performance` simulates them beat by beat.

Source: Baccelli, Cohen, Olsder, Quadrat, Synchronization and Linearity (1992).
"""

from mxhw.hardware.cycles import attention, functions, products
from mxhw.hardware.cycles.alone import unit_cycles, unit_interval
from mxhw.hardware.cycles.compose import DesignCycles, design_cycles, design_streams
from mxhw.hardware.cycles.rules import INDEX, SCORES, Run, register_cycles
from mxhw.hardware.cycles.streams import Arrivals, Beats, Rows, Start, accept

__all__ = [
    "INDEX",
    "SCORES",
    "Arrivals",
    "Beats",
    "DesignCycles",
    "Rows",
    "Run",
    "Start",
    "accept",
    "design_cycles",
    "design_streams",
    "register_cycles",
    "unit_cycles",
    "unit_interval",
]

_RULES = attention, functions, products  # importing them registers their rules
