"""Costs that are looked up for many assignments are those of each of them, evaluated step by step."""

import numpy as np
import pytest

from mxhw.errors import InputError
from mxhw.hardware import load_platform
from mxhw.hardware.machine.parts import parts_of as machine_parts
from mxhw.hardware.machine.timing import Pipeline
from mxhw.hardware.sizes import Resources, fitted
from mxhw.hardware.sizes.features import Fabric, features_of
from mxhw.hardware.structure import Product, Unit
from mxhw.ir import Assignment, Graph
from mxhw.passes.analysis import evaluate_hardware
from mxhw.passes.analysis.batched import BatchedModel, Candidate, UnitCosts, Workload, design_costs
from mxhw.passes.analysis.batched import tables as tables_module
from mxhw.passes.analysis.structure import Choices

BITMOD = tuple(Candidate("int8-e8m0", name) for name in ("bitmod4", "bitmod3", "int6-g128-s8"))
DIALECT = Candidate("dialect4-online", "dialect4")
COLUMNS = (2, 8, 16)
SINGLE = ("prefill", "decode", "interval", "longest", "all", "weight_bits")


@pytest.fixture()
def platform(monkeypatch):
    """A platform of its own, whose logic is priced by a sum of features: no fit has to be there."""

    def sizes(unit: Unit, library: str) -> Resources:
        found = features_of(unit, Fabric())
        total = 10.0 if found is None else sum(found.amounts.values())
        return Resources({"area": 1.5 * total, "ff": 0.1 * total})

    monkeypatch.setattr(fitted, "_sizes", sizes)
    return load_platform("asap7")


@pytest.fixture()
def attention(tiny: Graph) -> dict[str, str]:
    return {key: "int8-e8m0" for key, site in tiny.sites.items() if site.operand in ("lhs", "rhs")}


def drawn(model: BatchedModel, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    formats = rng.integers(0, len(model.candidates), (count, len(model.nodes)))
    return formats, rng.integers(0, len(COLUMNS), (count, len(model.groups)))


def one(model: BatchedModel, costs: UnitCosts, formats: np.ndarray, columns: np.ndarray, port=None):
    design = model.structure(dict(zip(model.nodes, formats.tolist(), strict=True)),
                             dict(zip(model.groups, columns.tolist(), strict=True)))  # fmt: skip
    return design_costs(design, costs, port=port)


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("rows", [1, 4])
def test_a_batch_costs_what_its_assignments_cost(tiny, attention, platform, folded, rows):
    costs = UnitCosts(Workload(prefill=14, position=15, rows=rows), platform)
    model = BatchedModel(tiny, BITMOD, Choices(formats=attention, keys=16), costs, columns=COLUMNS, folded=folded)
    formats, columns = drawn(model, 12)
    found = model.evaluate(formats, columns)
    for i in range(len(formats)):
        alone = one(model, costs, formats[i], columns[i])
        for name in SINGLE:
            assert getattr(found, name)[i] == pytest.approx(getattr(alone, name)[0], rel=1e-12), name
        assert found.energy[i] == pytest.approx(alone.energy[0], rel=1e-12)
        for name, amount in alone.resources.items():
            assert found.resources[name][i] == pytest.approx(amount[0], rel=1e-12), name
    assert len(set(found.resources["area"].tolist())) > 6
    assert len(set(found.prefill.tolist())) > 6


def test_an_unfolded_design_costs_what_its_report_says(tiny, attention, platform):
    costs = UnitCosts(Workload(prefill=16, position=15, rows=2), platform)
    model = BatchedModel(tiny, BITMOD, Choices(formats=attention, keys=16), costs, columns=COLUMNS, folded=False)
    formats, columns = drawn(model, 3)
    found = model.evaluate(formats, columns)
    for i in range(len(formats)):
        chosen = dict(attention)
        for node, number in zip(model.nodes, formats[i], strict=True):
            chosen[f"{node}:input"], chosen[f"{node}:weight"] = BITMOD[number].inputs, BITMOD[number].weights
        design = model.structure(
            dict(zip(model.nodes, formats[i].tolist(), strict=True)),
            dict(zip(model.groups, columns[i].tolist(), strict=True)),
        )
        products = [step for _, step in design.steps() if isinstance(step.unit, Product)]
        arrays = {step.node: (step.unit.rows, step.unit.columns) for step in products}
        report = evaluate_hardware(tiny, Assignment("tiny", chosen, arrays), platform, 16)
        assert (found.longest[i], found.all[i]) == (report.interval, report.cycles)
        assert found.energy[i, 0] == pytest.approx(report.energy)
        assert found.resources["area"][i] == pytest.approx(report.resources["area"])


@pytest.mark.parametrize("folded", [True, False])
def test_designs_of_targets_cost_what_they_cost_alone_and_the_quickest_that_fits_is_found(
    tiny, attention, platform, folded
):
    costs = UnitCosts(Workload(prefill=16, position=15), platform)
    targets = tuple(100 * 1.5**i for i in range(14))
    model = BatchedModel(tiny, BITMOD, Choices(formats=attention, keys=16), costs, targets=targets, folded=folded)
    formats = drawn(model, 6)[0]
    areas = []
    for number in (0, 5, 13):
        found = model.evaluate(formats, np.full((6, 1), number))
        alone = design_costs(model.structure(dict(zip(model.nodes, formats[2].tolist(), strict=True)), number), costs)
        for name in SINGLE:
            assert getattr(found, name)[2] == pytest.approx(getattr(alone, name)[0], rel=1e-12), name
        assert found.resources["area"][2] == pytest.approx(alone.resources["area"][0], rel=1e-12)
        areas.append(found.resources["area"])
    assert (areas[0] > areas[1]).all() and (areas[1] > areas[2]).all()
    room = {"area": float(np.median(areas[1]))}
    chosen = model.planned(formats, room)
    fits = model.evaluate(formats, chosen[:, None]).resources["area"] <= room["area"]
    quicker = model.evaluate(formats, chosen[:, None] - 1).resources["area"] > room["area"]
    assert (chosen > 0).all() and fits.all() and quicker.all()
    assert (model.planned(formats, {"area": 1.0}) == -1).all()


def test_formats_of_two_families_cost_both_their_encoders(tiny, attention, platform):
    costs = UnitCosts(Workload(prefill=16, position=15), platform)
    model = BatchedModel(
        tiny, (BITMOD[0], DIALECT), Choices(formats=attention, keys=16), costs, columns=COLUMNS, folded=False
    )
    formats, columns = drawn(model, 8)
    found = model.evaluate(formats, columns)
    for i in range(len(formats)):
        alone = one(model, costs, formats[i], columns[i])
        for name in SINGLE:
            assert getattr(found, name)[i] == pytest.approx(getattr(alone, name)[0], rel=1e-12), name
        assert found.energy[i] == pytest.approx(alone.energy[0], rel=1e-12)
        # Forks of a stream that two encoders read are counted as those of one reader.
        assert found.resources["area"][i] == pytest.approx(alone.resources["area"][0], rel=0.01)


def test_layers_that_cannot_share_their_unit_take_forever(tiny, attention):
    costs = UnitCosts(Workload(prefill=16, position=15))
    model = BatchedModel(tiny, (BITMOD[0], DIALECT), Choices(formats=attention, keys=16), costs)
    mixed = np.zeros((2, len(model.nodes)), dtype=int)
    mixed[1, model.nodes.index("model.layers.1.mlp.up_proj")] = 1
    found = model.evaluate(mixed)
    assert np.isfinite(found.prefill).tolist() == [True, False]


def test_loads_of_layers_bound_a_design_that_has_a_port(tiny, attention):
    costs = UnitCosts(Workload(prefill=4, position=15))
    base = Choices(formats=attention, keys=16)
    inside = BatchedModel(tiny, BITMOD, base, costs)
    formats = drawn(inside, 4)[0]
    cycles = {}
    for port in (0.01, 1e9):
        model = BatchedModel(tiny, BITMOD, Choices(formats=attention, keys=16, storage="layers"), costs, port=port)
        cycles[port] = model.evaluate(formats)
        alone = one(model, costs, formats[0], np.zeros(len(model.groups), dtype=int), port)
        assert cycles[port].prefill[0] == pytest.approx(alone.prefill[0])
        assert cycles[port].decode[0] == pytest.approx(alone.decode[0])
    assert (cycles[0.01].decode > 10 * cycles[1e9].decode).all()
    assert cycles[1e9].decode == pytest.approx(inside.evaluate(formats).decode)


@pytest.mark.parametrize("forgets", ["_sums", "_paces"])
def test_a_table_that_forgets_a_step_is_caught(tiny, attention, platform, monkeypatch, forgets):
    made = getattr(tables_module.Table, forgets)

    def without_products(self, design, name):
        return made(self, design, name) * (not name.startswith("mlp."))

    monkeypatch.setattr(tables_module.Table, forgets, without_products)
    costs = UnitCosts(Workload(prefill=16, position=15), platform)
    model = BatchedModel(tiny, BITMOD, Choices(formats=attention, keys=16), costs, columns=(1,))
    formats = drawn(model, 1)[0]
    found, alone = model.evaluate(formats), one(model, costs, formats[0], np.zeros(len(model.groups), dtype=int))
    same = [found.resources["area"] == pytest.approx(alone.resources["area"]), found.all == alone.all]
    assert not all(same) or found.interval != alone.interval


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("chunk", [4, 16])
def test_cycles_are_those_of_the_machine(tiny, attention, folded, chunk):
    """To 3 % of so small ones: a machine knows where units of unequal pace overlap, and pads with other tokens."""
    costs = UnitCosts(Workload(prefill=16, position=16, rows=2, chunk=chunk))
    model = BatchedModel(tiny, BITMOD, Choices(formats=attention, keys=32), costs, columns=COLUMNS, folded=folded)
    formats, columns = drawn(model, 4)
    found = model.evaluate(formats, columns)
    for i in range(len(formats)):
        design = model.structure(
            dict(zip(model.nodes, formats[i].tolist(), strict=True)),
            dict(zip(model.groups, columns[i].tolist(), strict=True)),
        )
        front, *blocks, back = machine_parts(design, None, 32)
        whole = Pipeline(front=front, blocks=tuple(blocks), back=back, folded=folded, chunk=chunk)
        assert found.prefill[i] == pytest.approx(whole.prefill(16, 1).cycles, rel=0.03)
        assert found.decode[i] == pytest.approx(whole.decode(16, 1, 1).cycles, rel=0.03)


def test_what_has_no_costs_is_refused(tiny, attention):
    costs, base = UnitCosts(Workload(prefill=16, position=15)), Choices(formats=attention, keys=16)
    with pytest.raises(InputError, match="candidates must be 1 to 8 different ones, not"):
        BatchedModel(tiny, (DIALECT, DIALECT), base, costs)
    with pytest.raises(InputError, match="storage of batched costs must be 'inside' without a port"):
        BatchedModel(tiny, BITMOD, base, costs, port=64.0)
    with pytest.raises(InputError, match="no hardware unit multiplies"):
        BatchedModel(tiny, (Candidate("int8-e8m0", "dialect4"),), base, costs)
    model = BatchedModel(tiny, BITMOD, base, costs, columns=COLUMNS)
    with pytest.raises(
        InputError, match=rf"formats must be whole numbers \[assignments, {len(model.nodes)}\], not int"
    ):
        model.evaluate(np.zeros((1, 3), dtype=int))
    with pytest.raises(InputError, match="formats must be numbers from 0 to 2, not 0 to 3"):
        model.evaluate([[3] + [0] * (len(model.nodes) - 1)])
    with pytest.raises(InputError, match="position of a workload must be at least 0, not -1"):
        Workload(prefill=1, position=-1)
