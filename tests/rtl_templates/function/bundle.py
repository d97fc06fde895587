"""Several components in one simulation build: most of a small build does not depend on the component."""

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from mxhw.sim.library import Library, Run, build_library


class Bundle(wiring.Component):
    """Components side by side; member ``name`` has the ports of component ``name``."""

    def __init__(self, components: Mapping[str, wiring.Component]) -> None:
        self._components = dict(components)
        super().__init__({name: Out(component.signature) for name, component in components.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, component in self._components.items():
            m.submodules[name] = component
            connect(m, flipped(getattr(self, name)), component)
        return m


class Bench:
    """Runs one component of a bundle at a time; the streams of the others stay empty."""

    def __init__(self, components: Mapping[str, wiring.Component]) -> None:
        self.components = dict(components)
        self.library: Library = build_library(Bundle(components))

    def run(self, name: str, inputs: Mapping[str, Any], expected: int, **options: Any) -> Run:
        """Send ``inputs`` to component ``name``, take ``expected`` beats of its stream y."""
        streams = self.library.streams.values()
        beats = {
            s.name: inputs[s.name.removeprefix(f"{name}__")] if _of(s.name, name) else [] for s in streams if s.is_input
        }
        counts = {s.name: expected if _of(s.name, name) else 0 for s in streams if not s.is_input}
        return self.library.run(beats, counts, **options)

    def y(self, name: str, inputs: Mapping[str, Any], expected: int, **options: Any) -> list[int]:
        """Return the payloads of that run."""
        return self.run(name, inputs, expected, **options).ints(f"{name}__y")


def _of(stream: str, component: str) -> bool:
    return stream.rpartition("__")[0] == component
