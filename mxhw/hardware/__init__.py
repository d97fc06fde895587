"""Platforms as data, and what the hardware that mxhw builds takes of them: cycles, area, energy.

structure/   what a design is made of, as plain records
cycles/      how long each record takes, alone and in a design; gemm/: products over arrays of design points
sizes/       what each takes in logic; platform/: platforms, and what memories take
energy       what each spends
sizing       sizes of units that a platform has room for (balance: the choice itself)
machine/     whole models on a platform, with memory outside
published/   models of others, to compare with
"""

from mxhw.hardware.components import Component, component, components, library_origin
from mxhw.hardware.platform import Platform, Quantity, known_platforms, load_platform

__all__ = [
    "Component",
    "Platform",
    "Quantity",
    "component",
    "components",
    "known_platforms",
    "library_origin",
    "load_platform",
]
