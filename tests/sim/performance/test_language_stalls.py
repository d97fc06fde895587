"""A folded language model that is held up, its weights in memories of the design or behind a port of a memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mxhw.flow.language import LanguageRequest, LanguageSettings, emit_language_model
from mxhw.passes.emit.dataflow.names import stream_names
from mxhw.passes.emit.language import emit
from mxhw.passes.emit.language.timing import timed_language
from mxhw.sim.dataflow import DataflowSimulation
from mxhw.sim.memory import Memory
from mxhw.sim.performance.stalls import Stalls
from tests.sim.performance.rtl import differences
from tests.tiny_language import KEYS, PROMPTS, TinyModel

WEIGHTS = "weights"


@pytest.mark.slow
@pytest.mark.parametrize("port", [None, 64])
def test_every_beat_of_a_language_model_passes_in_its_cycle(
    port: int | None, tiny_language_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    cycles = emit.language_cycles

    def kept(*arguments: Any) -> Any:
        asked[:] = arguments[:5]
        return cycles(*arguments)

    monkeypatch.setattr(emit, "language_cycles", kept)
    request = LanguageRequest(
        model=str(tiny_language_model.folder),
        assignment=tiny_language_model.assignment,
        prompts=PROMPTS,
        calibration=str(tiny_language_model.calibration),
        settings=LanguageSettings(keys=KEYS, sequences=2, chunk=5, tokens=3, weight_port=port),
    )
    emit_language_model(request, tmp_path / "design")
    timed, simulation = timed_language(*asked), DataflowSimulation(tmp_path / "design")
    stalls = [Stalls(), Stalls(0.05, 1), Stalls(0.4, 2)]
    if port is not None:
        stalls += [Stalls(memories={WEIGHTS: Memory(bits, 40, period=400, pause=30)}) for bits in (64, 45, 16)]
        stalls.append(Stalls(0.1, 3, memories={WEIGHTS: Memory(30.5, 100)}))
    names = stream_names([*timed.graph.inputs, *timed.graph.steps])
    spent = []
    for each in stalls:
        run = simulation.run_bulk(stall=each.stall, seed=each.seed, memories=each.memories, times=True)
        assert all(found.equal for found in run.compared.values())
        found = timed.under(each)
        steps = {}
        if port is None:
            steps = {f"tap_{names[step]}": found.times[part.output] for step, part in timed.components.items()}
        assert not list(differences(run, {**found.inputs, **found.outputs, **steps}))
        assert found.cycles == run.cycles
        spent.append(run.cycles)
    assert len(set(spent)) == len(spent)
    assert all(np.diff(spent[:3]) > 0)
