"""Passes are listed from their fields, and a pipeline refuses a pass whose needs nobody meets."""

import pytest

from mxhw.errors import InputError
from mxhw.ir import Graph
from mxhw.passes import Pass, PassResult, Pipeline, register_pass
from mxhw.passes.base import registered_passes


class Give(Pass):
    name = "test-give"
    description = "provides a thing"
    provides = frozenset({"thing"})

    def __call__(self, graph: Graph) -> PassResult:
        return PassResult(graph, {"gave": 1})


class Take(Pass):
    name = "test-take"
    description = "needs a thing"
    requires = frozenset({"thing", "sites"})

    def __call__(self, graph: Graph) -> PassResult:
        return PassResult(graph, {"took": 1})


def test_pipeline_runs_in_order_and_collects_reports(tiny: Graph) -> None:
    result = Pipeline([Give(), Take()])(tiny)
    assert result.graph is tiny
    assert result.report == {"test-give": {"gave": 1}, "test-take": {"took": 1}}


@pytest.mark.parametrize("passes", [[Take()], [Take(), Give()]])
def test_pipeline_refuses_what_nothing_provides(passes: list[Pass]) -> None:
    with pytest.raises(InputError, match="pass 1 \\('test-take'\\) requires thing, which nothing before it provides"):
        Pipeline(passes)


def test_pipeline_takes_what_the_graph_is_said_to_have(tiny: Graph) -> None:
    assert Pipeline([Take()], available={"thing", "sites"})(tiny).report == {"test-take": {"took": 1}}


def test_registry_refuses_a_second_pass_of_one_name_and_a_missing_description() -> None:

    class Impostor(Give):
        name = "calibrate"

    class Mute(Give):
        name = "test-mute"
        description = ""

    with pytest.raises(InputError, match="'calibrate' of Impostor is taken by Calibrate"):
        register_pass(Impostor)
    with pytest.raises(InputError, match="needs a one-line 'description'"):
        register_pass(Mute)
    assert Impostor not in registered_passes()


def test_our_passes_are_registered_with_descriptions() -> None:
    import mxhw.passes.analysis
    import mxhw.passes.transform  # noqa: F401

    names = {kind.name for kind in registered_passes()}
    assert {"calibrate", "sensitivity", "quantize", "parallelize"} <= names
    assert all(kind.description and "\n" not in kind.description for kind in registered_passes())
