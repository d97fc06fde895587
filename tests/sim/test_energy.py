"""Energy of an emitted design by counted toggles: constant inputs spend less than its own, random ones more."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.hardware.structure.record import STRUCTURE_FILE, design_from_json
from mxhw.sim.energy import emitted_energy, has_structure, platform_of, write_energy
from tests.sim.test_activity import Made, added  # noqa: F401  (a fixture)


def test_constant_inputs_spend_less_than_random_ones(added: Made) -> None:  # noqa: F811
    platform = load_platform("asap7")
    zeros, own, random = (
        emitted_energy(added.folder, each, platform) for each in (added.zeros(), added.own, added.random())
    )
    logic = [each.measured.terms["logic"] for each in (zeros, own, random)]
    assert logic[0] < 0.05 * logic[2]
    assert logic[0] < logic[1] <= 1.1 * logic[2]
    assert zeros.assumed == own.assumed == random.assumed
    for each in (zeros, own, random):
        assert each.measured.terms["static"] == each.assumed.terms["static"] > 0
        assert each.measured.total == pytest.approx(sum(each.measured.terms.values()))
        assert not each.uncounted


def test_random_data_toggles_as_the_platform_assumes_it(added: Made) -> None:  # noqa: F811
    """But for half of each FIFO's two registers, which a stream without stalls does not use."""
    (step,) = emitted_energy(added.folder, added.random(), load_platform("asap7")).steps
    used = (24 + 16) + (24 + 16) + 24
    assert step.activity == pytest.approx(0.5 * used / step.bits, rel=0.03)


def test_steps_are_those_of_the_design_and_the_record_is_written(added: Made) -> None:  # noqa: F811
    design = design_from_json((added.folder / STRUCTURE_FILE).read_text())
    assert {step.stream for step in added.design.steps} == design.steps.keys()
    assert {(source, name) for name, step in design.steps.items() for source in step.inputs} == design.fifos.keys()
    energy = emitted_energy(added.folder, added.own, platform_of(added.folder, None))
    assert energy.platform == "asap7"
    record = json.loads(write_energy(added.folder, energy).read_text())
    assert record["measured"]["terms"] == dict(energy.measured.terms)
    assert record["activity"]["value"] == 0.5 and "assumption" in record["activity"]["source"]
    assert [step["name"] for step in record["steps"]] == list(added.own.steps)


def test_folders_that_do_not_say_it_are_refused(added: Made, tmp_path: Path) -> None:  # noqa: F811
    folder, platform = tmp_path / "design", load_platform("asap7")
    shutil.copytree(added.folder, folder)
    with pytest.raises(InputError, match=r"the activity is that of a design 00.*count it again"):
        emitted_energy(folder, replace(added.own, hash="0" * 64), platform)
    (folder / STRUCTURE_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"structure.json: no record of a design .*; emit the design again"):
        emitted_energy(folder, added.own, platform)
    (folder / STRUCTURE_FILE).unlink()
    assert not has_structure(folder)
    with pytest.raises(InputError, match=r"cannot read .*structure.json.*emit the design again for its energy"):
        emitted_energy(folder, added.own, platform)
    with pytest.raises(InputError, match="cannot write"):
        write_energy(folder / "nowhere", emitted_energy(added.folder, added.own, platform))
