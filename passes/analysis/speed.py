"""How quick a design is: prompts, generation, and what a token spends, by the whole model on its platform.

The figures are those of :mod:`mxhw.hardware.machine`, memories in the first placement that fits. A part's way through
its pipeline is computed for each design anew, which takes some tenths of a second; a search that asks for nothing of
it does not pay for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mxhw.errors import InputError
from mxhw.hardware.machine import DEFAULT_CHUNK, machine_of
from mxhw.hardware.platform import Platform
from mxhw.hardware.sizing import lanes_in_blocks, with_sizes
from mxhw.hardware.structure import ModelDesign, Product
from mxhw.ir import Graph
from mxhw.passes.analysis.structure import Choices, Structurer

__all__ = ["DesignSpeed", "SpeedOf"]

_MOST = 4096  # designs that are kept


@dataclass(frozen=True)
class DesignSpeed:
    """What a run of a design takes.

    Attributes
    ----------
    prefill_cycles, prefill_seconds : from the first token of the prompts to the token that follows them.
    decode_cycles, decode_seconds : of a step of generation, which gives one token of every sequence; the mean.
    tokens_per_second : generated tokens, of all sequences together.
    energy_per_token : pJ of a generated token; None where the platform lacks a figure.
    prefill_energy : pJ of the prompts; None likewise.
    bytes_per_token : that move from and to memory outside for a generated token.
    resources : of the placed design, as the platform names them.
    """

    prefill_cycles: float
    prefill_seconds: float
    decode_cycles: float
    decode_seconds: float
    tokens_per_second: float
    energy_per_token: float | None
    prefill_energy: float | None
    bytes_per_token: float
    resources: Mapping[str, float]


class SpeedOf:
    """Speeds of designs of one graph on one platform, each computed once.

    Parameters
    ----------
    graph : with or without weights.
    """

    def __init__(self, graph: Graph, platform: Platform) -> None:
        self._graph, self._platform = graph, platform
        self._structurers: dict[bool, Structurer] = {}
        self._found: dict[object, DesignSpeed] = {}

    def __call__(
        self,
        formats: Mapping[str, str],
        arrays: Mapping[str, tuple[int, int]],
        lanes: Mapping[str, int],
        *,
        prefill: int,
        decode: int,
        batch: int = 1,
        folded: bool = False,
    ) -> DesignSpeed:
        """Return the speed of a design; see :meth:`mxhw.passes.analysis.hardware.HardwareCosts.speed`."""
        if type(decode) is not int or decode < 1:
            raise InputError(f"decode must be an integer of at least 1 token to measure generation by, not {decode!r}")
        key = (prefill, decode, batch, folded, *(frozenset(each.items()) for each in (formats, arrays, lanes)))
        if key not in self._found:
            if len(self._found) >= _MOST:
                self._found.clear()
            model = self._model(formats, arrays, lanes, prefill + decode, batch, folded)
            self._found[key] = _speed(model, self._platform, prefill, decode, batch)
        return self._found[key]

    def _model(
        self,
        formats: Mapping[str, str],
        arrays: Mapping[str, tuple[int, int]],
        lanes: Mapping[str, int],
        keys: int,
        batch: int,
        folded: bool,
    ) -> ModelDesign:
        if folded not in self._structurers:
            self._structurers[folded] = Structurer(self._graph, folded=folded)
        choices = Choices(formats=formats, keys=max(1, keys), banks=batch)
        design = self._structurers[folded].structure(choices).design
        return with_sizes(design, arrays, lanes_in_blocks(design, lanes))


def _speed(model: ModelDesign, platform: Platform, prefill: int, decode: int, batch: int) -> DesignSpeed:
    rows = max((step.unit.rows for _, step in model.steps() if isinstance(step.unit, Product)), default=1)
    found = machine_of(model, platform, chunk=max(DEFAULT_CHUNK, rows)).cost(
        prefill=prefill, decode=decode, batch=batch
    )
    first, then = found.prefill, found.decode
    return DesignSpeed(
        prefill_cycles=first.cycles,
        prefill_seconds=first.seconds,
        decode_cycles=then.cycles / decode,
        decode_seconds=then.seconds / decode,
        tokens_per_second=then.tokens_per_second,
        energy_per_token=None if then.energy.total is None else then.energy.total / then.tokens,
        prefill_energy=first.energy.total,
        bytes_per_token=then.bytes_per_token,
        resources=dict(found.resources),
    )
