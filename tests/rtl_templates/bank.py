"""What the tests of hardware share: many components behind one compiled library, their beats, faults to plant.

A build costs seconds, a component more in it little. The checks of a run (order, stalls, promises of a stream) are
those of :mod:`mxhw.sim.library`, whose own controls are in `tests/sim/test_library.py`.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from amaranth.hdl import Fragment, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out, connect, flipped

from mxhw.arithmetic.tables import Table
from mxhw.sim import Library, Run, build_library_from_sources, lint
from mxhw.sim.cache import scratch
from mxhw.sim.ports import CLOCK, RESET, component_ports, component_verilog


class Bank(wiring.Component):
    """Components side by side; port ``x`` of component ``name`` is called ``name__x``.

    Each has modules of its own. With ``shares_modules`` they share those of equal kind, as the components of a design
    do: for units whose kinds name all that differs.
    """

    def __init__(self, units: Mapping[str, Any], *, shares_modules: bool = False) -> None:
        self.units, self._shares_modules = dict(units), shares_modules
        super().__init__({name: Out(unit.signature) for name, unit in self.units.items()})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for name, unit in self.units.items():
            m.submodules[f"{name}_unit"] = Fragment.get(unit, platform if self._shares_modules else None)
            connect(m, flipped(getattr(self, name)), unit)
        return m


class Bench:
    """A compiled bank; its components are run one or several at a time, while the streams of the others stay empty."""

    def __init__(self, units: Mapping[str, Any], *, shares_modules: bool = False) -> None:
        self.units = dict(units)
        bank = Bank(units, shares_modules=shares_modules)
        self.text = component_verilog(bank, "bank")
        signed = [name for name, port in component_ports(bank).items() if port.signed]
        with self._source() as source:
            self.library: Library = build_library_from_sources([source], "bank", signed=signed)

    def complaints(self) -> str:
        """Return what Verilator's lint says against the components."""
        with self._source() as source:
            return lint([source], "bank")

    def run(self, name: str, inputs: Mapping[str, Any], outputs: int | Mapping[str, int], **options: Any) -> Run:
        """Send ``inputs`` to component ``name``; take so many beats of each of its outputs, or of its only one, ``y``.

        The names of the streams of the result are those of the component.
        """
        counts = {"y": outputs} if isinstance(outputs, int) else outputs
        run = self.run_all({name: inputs}, {name: counts}, **options)
        return replace(run, outputs={stream: run.outputs[f"{name}__{stream}"] for stream in counts})

    def y(self, name: str, inputs: Mapping[str, Any], expected: int, **options: Any) -> list[int]:
        """Return the payloads of that run."""
        return self.run(name, inputs, expected, **options).ints("y")

    def run_all(
        self, inputs: Mapping[str, Mapping[str, Any]], outputs: Mapping[str, Mapping[str, int]], **options: Any
    ) -> Run:
        """Run several components at once; names of streams are those of the bank, and other inputs are 0."""
        streams = self.library.streams.values()
        nothing: dict[str, Any] = {stream.name: [] for stream in streams if stream.is_input}
        none = {stream.name: 0 for stream in streams if not stream.is_input}
        levels = {name: 0 for name in self._inputs() if not any(name in stream.ports for stream in streams)}
        return self.library.run(nothing | _joined(inputs), none | _joined(outputs), levels=levels, **options)

    def trace(self, inputs: Mapping[str, Mapping[str, Any]], **options: Any) -> dict[str, dict[str, Any]]:
        """Return the outputs of components in every cycle; inputs that are not given or end sooner are 0."""
        columns = _joined(inputs)
        length = max((len(values) for values in columns.values() if not isinstance(values, int)), default=0)
        padded = {
            name: values if isinstance(values, int) else [*values, *[0] * (length - len(values))]
            for name, values in columns.items()
        }
        found = self.library.trace(dict.fromkeys(self._inputs(), 0) | padded, **options)
        outputs: dict[str, dict[str, Any]] = {name: {} for name in inputs}
        for name, values in found.items():
            unit, _, port = name.partition("__")
            if unit in outputs:
                outputs[unit][port] = values
        return outputs

    def _inputs(self) -> list[str]:
        return [p.name for p in self.library.ports.values() if p.is_input and p.name not in (CLOCK, RESET)]

    @contextmanager
    def _source(self) -> Iterator[Path]:
        with scratch() as folder:
            (folder / "bank.v").write_text(self.text)
            yield folder / "bank.v"


class Benches:
    """Several banks as one :class:`Bench`; each is compiled when a component of it is first run.

    For components that only slow tests run, so that quick ones do not compile them.
    """

    def __init__(self, *banks: Mapping[str, Any]) -> None:
        self._banks, self._compiled = [dict(bank) for bank in banks], dict[int, Bench]()
        self.units: dict[str, Any] = {name: unit for bank in self._banks for name, unit in bank.items()}

    def of(self, name: str) -> Bench:
        """Return the bank that a component is in."""
        index = next(i for i, bank in enumerate(self._banks) if name in bank)
        if index not in self._compiled:
            self._compiled[index] = Bench(self._banks[index])
        return self._compiled[index]

    def run(self, name: str, inputs: Mapping[str, Any], outputs: int | Mapping[str, int], **options: Any) -> Run:
        """See :meth:`Bench.run`."""
        return self.of(name).run(name, inputs, outputs, **options)

    def y(self, name: str, inputs: Mapping[str, Any], expected: int, **options: Any) -> list[int]:
        """See :meth:`Bench.y`."""
        return self.of(name).y(name, inputs, expected, **options)


def slow_ones(names: Iterable[str], slow: Container[str]) -> list[Any]:
    """Return names as parameters of a test, those in ``slow`` for slow runs only."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in slow else name for name in names]


def _joined(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{name}__{port}": values for name, ports in given.items() for port, values in ports.items()}


def beats(values: Any, bits: int, lanes: int = 1) -> list[int]:
    """Return elements, in order, as payloads of ``lanes`` fields of ``bits``, the first one lowest."""
    rows = np.asarray(values).reshape(-1, lanes)
    if rows.dtype != object:
        rows = rows & ((1 << bits) - 1)
    if bits * lanes <= 62 and rows.dtype != object:
        return (rows << np.arange(lanes) * bits).sum(-1).tolist()  # type: ignore[no-any-return]
    return [sum((int(value) & (1 << bits) - 1) << lane * bits for lane, value in enumerate(row)) for row in rows]


def damaged(component: Any, module: Any, **faults: Any) -> Any:
    """Return the component; when it is elaborated, it and what is inside find ``faults`` in place of a module's names.

    Not in a bank whose units share modules.
    """
    elaborate = component.elaborate

    def with_faults(platform: Any) -> Any:
        with mock.patch.multiple(module, **faults):
            return Fragment.get(elaborate(platform), platform)

    component.elaborate = with_faults
    return component


def off_by_one(table: Table, place: int) -> Table:
    """Return the table with one point changed by its lowest unit."""
    points = tuple(point - (i == place) for i, point in enumerate(table.points))
    return Table(f"{table.name}_damaged", points, table.address_bits, table.fraction_bits, table.output_bits)


def without_half(value: Value, shift: int) -> Value:
    """`integer.round_shift` as someone would write it who forgets the half."""
    return value >> shift if shift > 0 else value << -shift
