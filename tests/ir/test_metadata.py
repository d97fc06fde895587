"""Typed records go through JSON unchanged; wrong ones are refused by field."""

import json

import pytest

from mxhw.errors import InputError
from mxhw.ir import Hardware, NodeInfo, Site, Symbolic
from tests.ir.zoo import captured

HARDWARE = Hardware(
    component="bitmod_gemm",
    parallelism={"rows": 4, "columns": 8},
    stream_order=("rows", "columns"),
    interface={"x": {"width": 128, "format": "int8-e8m0"}},
    initiation_interval=4096,
    latency=5000,
    throughput=1.5e4,
    fifo_depth=16,
    resources={"LUT": 1200.0, "area": 3.5},
    energy=1e-6,
)
SITE = Site(
    node="lm_head", operand="weight", shape=(256, Symbolic("2*s")), axis=-1, format="mxfp4", statistics={"mse": 0.25}
)


@pytest.mark.parametrize("record", [HARDWARE, Hardware(component="none"), SITE])
def test_json_both_ways(record: Hardware | Site) -> None:
    assert type(record).from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_every_node_of_a_graph_goes_both_ways(name: str) -> None:
    for info in captured(name).nodes.values():
        assert NodeInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latency": "5"}, r"^field 'latency' of Hardware must be of type int \| None, not '5'"),
        ({"latency": True}, r"^field 'latency' of Hardware must be of type int"),
        ({"component": None}, r"^field 'component' of Hardware must be of type str, not None"),
        ({"resources": []}, r"^field 'resources' of Hardware must be of type Mapping"),
        ({"stream_order": "rows"}, r"^field 'stream_order' must be a list, not 'rows'"),
        ({"stream_order": [1]}, r"^field 'stream_order' must be a list of names"),
        ({"lattency": 5}, r"^record of Hardware has an unknown field 'lattency'; did you mean 'latency'\?"),
    ],
)
def test_wrong_fields_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Hardware.from_json({**HARDWARE.to_json(), **change})


def test_missing_fields_and_wrong_operands_are_refused() -> None:
    with pytest.raises(InputError, match=r"^record of Site is incomplete: it lacks 'node'"):
        Site.from_json({})
    with pytest.raises(InputError, match=r"^record of Site must be an object, not 3"):
        Site.from_json(3)
    with pytest.raises(InputError, match=r"^operand of a site must be one of weight, input, lhs, rhs, cache, not 'w'"):
        Site.from_json({**SITE.to_json(), "operand": "w"})
