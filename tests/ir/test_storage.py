"""Saved graphs come back equal; and nothing malformed, cut short or dangerous is loaded."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mxhw.errors import InputError
from mxhw.ir import Graph, capture_features
from tests.ir.test_graph import quantized
from tests.ir.zoo import MODELS, captured, ids, largest_difference


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_keeps_outputs_records_and_sites(name: str, tmp_path: Path) -> None:
    graph = captured(name)
    graph.save(tmp_path / "g")
    loaded = Graph.load(tmp_path / "g")
    tokens = ids(2, 19)
    assert largest_difference(loaded.run(tokens), graph.run(tokens)) == 0.0
    assert loaded.nodes == graph.nodes and list(loaded.nodes) == list(graph.nodes)
    assert loaded.sites == graph.sites
    assert loaded.signature == graph.signature
    assert sorted(file.name for file in (tmp_path / "g").iterdir()) == ["graph.json", "weights.safetensors"]


def test_round_trip_of_a_quantized_graph(tmp_path: Path) -> None:
    graph, tokens = quantized(captured("llama")), ids(2, 19)
    graph.save(tmp_path)
    assert largest_difference(Graph.load(tmp_path).run(tokens), graph.run(tokens)) == 0.0


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path: Path) -> None:
    captured("llama").save(tmp_path)
    loaded = Graph.load(tmp_path)
    assert loaded.weight("lm_head") is loaded.module.get_parameter("model.embed_tokens.weight")


def test_static_and_feature_graphs_round_trip(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    graph = capture_features(module, batch=4, dynamic=False)
    graph.save(tmp_path)
    x = torch.randn(4, 5)
    assert torch.equal(Graph.load(tmp_path).run(x), module(x))


def test_saving_over_a_graph_replaces_it(tmp_path: Path) -> None:
    captured("opt").save(tmp_path)
    captured("llama").save(tmp_path)
    assert Graph.load(tmp_path).nodes == captured("llama").nodes


def edited(folder: Path, edit: Callable[[dict], object]) -> None:
    captured("llama").save(folder)
    content = json.loads((folder / "graph.json").read_text())
    edit(content)
    (folder / "graph.json").write_text(json.dumps(content))


def first(content: dict, op: str) -> dict:
    return next(node for node in content["nodes"] if node["op"] == op)


def last_get_attr_renamed(content: dict) -> None:
    node, target = first(content, "get_attr"), 'a"), __import__("os").system("true"), ("'
    content["attributes"][target] = content["attributes"][node["target"]]
    node["target"] = target


MALFORMED: dict[str, tuple[Callable[[dict], object], str]] = {
    "nothing changed but a space": (lambda c: None, ""),
    "version": (lambda c: c.update(mxhw_graph=2), "is no graph of version 1"),
    "no nodes": (lambda c: c.pop("nodes"), "nodes must be a list"),
    "empty nodes": (lambda c: c.update(nodes=[]), "nodes must be a list"),
    "node is a number": (lambda c: c["nodes"].insert(0, 3), "node 0 must have name, op, target"),
    "foreign namespace": (lambda c: first(c, "call_function").update(target="prims.add.default"), "does not exist or"),
    "python function": (lambda c: first(c, "call_function").update(target="os.system"), "does not exist or is not one"),
    "operator outside the list": (lambda c: first(c, "call_function").update(target="operator.call"), "does not exist"),
    "reads files": (lambda c: first(c, "call_function").update(target="aten.from_file.default"), "reads files"),
    "unknown op": (lambda c: c["nodes"][0].update(op="call_method"), "op must be one of"),
    "code in a name": (lambda c: c["nodes"][0].update(name="a; import os"), "name must be a new identifier"),
    "keyword as a name": (lambda c: c["nodes"][0].update(name="import"), "name must be a new identifier"),
    "name twice": (lambda c: c["nodes"][1].update(name=c["nodes"][0]["name"]), "name must be a new identifier"),
    "code in a target": (last_get_attr_renamed, "target of get_attr must be a plain name"),
    "code in an argument name": (lambda c: first(c, "call_function").update(kwargs={"a=1": 1}), "is not an identifier"),
    "code in the input": (lambda c: first(c, "placeholder").update(target="x=print()"), "must be a plain name"),
    "later node": (lambda c: first(c, "call_function").update(args=[{"node": "output"}]), "does not come before"),
    "unknown argument": (lambda c: first(c, "call_function").update(args=[{"pickle": "x"}]), "is malformed or names"),
    "deep argument": (lambda c: first(c, "call_function").update(args=[[[[[[[[[[[1]]]]]]]]]]]), "nested deeper"),
    "no output": (lambda c: c["nodes"].pop(), "must be the output"),
    "attribute without a tensor": (
        lambda c: c["attributes"]["lm_head.weight"].update(tensor="nothing"),
        "names a tensor that weights.safetensors lacks",
    ),
    "missing attribute": (lambda c: c["attributes"].pop("lm_head.weight"), "which is not stored"),
    "missing body": (lambda c: c["bodies"].popitem(), "which is not stored"),
    "body with parameters": (
        lambda c: next(iter(c["bodies"].values())).insert(
            0, {"name": "p", "op": "get_attr", "target": "lm_head.weight", "args": [], "kwargs": {}}
        ),
        "a body may use neither parameters",
    ),
    "record of no node": (lambda c: c["records"].update(nobody={}), "which is no node"),
    "incomplete record": (lambda c: c["records"].update(linear={"name": "x"}), "record of NodeInfo is incomplete"),
    "unknown field": (lambda c: c["records"]["linear"].update(macz=1), "unknown field 'macz'; did you mean 'macs'?"),
    "wrong type": (lambda c: c["records"]["linear"].update(op=7), "field 'op' of NodeInfo must be of type str"),
    "code as a size": (
        lambda c: c["records"]["linear"].update(macs="__import__('os').getcwd()"),
        "may hold only + - * // **",
    ),
    "site of another node": (
        lambda c: c["records"]["linear"]["sites"][0].update(node="lm_head"),
        "sites that belong to another node",
    ),
    "name of another node": (
        lambda c: c["records"]["linear"].update(name="lm_head", sites=[]),
        "belong to another node",
    ),
    "signature": (lambda c: c["signature"].update(batch="1"), "signature is malformed"),
    "no hash": (lambda c: c.pop("weights_sha256"), "weights_sha256 must be 64"),
    "another hash": (lambda c: c.update(weights_sha256="0" * 64), "cut short or not the one saved"),
}


@pytest.mark.parametrize("fault", MALFORMED)
def test_malformed_graphs_are_refused(fault: str, tmp_path: Path) -> None:
    edit, message = MALFORMED[fault]
    edited(tmp_path, edit)
    if not message:  # the control: the same way of editing, without a fault
        assert Graph.load(tmp_path).nodes == captured("llama").nodes
        return
    with pytest.raises(InputError) as error:
        Graph.load(tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


JUNK = (None, True, -1, 1 << 70, 1.5, "", "lm_head", "a b", [], [0], {}, {"node": "linear"}, {"x": []})


def places(value: object) -> list[tuple[object, object]]:
    """Every (container, key) inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in [(value, key), *places(inner)]]


def test_junk_anywhere_is_loaded_or_refused_and_never_anything_else(tmp_path: Path) -> None:
    captured("llama").save(tmp_path)
    text = (tmp_path / "graph.json").read_text()
    draw, refused = random.Random(0), 0
    for _ in range(120):
        content = json.loads(text)
        container, key = draw.choice(places(content))
        container[key] = draw.choice(JUNK)
        (tmp_path / "graph.json").write_text(json.dumps(content))
        try:
            Graph.load(tmp_path)
        except InputError:
            refused += 1
    assert refused > 60


@pytest.mark.parametrize("file", ["graph.json", "weights.safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999])
def test_files_cut_short_are_refused(file: str, keep: float, tmp_path: Path) -> None:
    captured("llama").save(tmp_path)
    data = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=r"^(graph file .* is not JSON, or cut short|weight file .* is cut short)"):
        Graph.load(tmp_path)


def test_a_flipped_bit_in_the_weights_is_found(tmp_path: Path) -> None:
    captured("llama").save(tmp_path)
    data = bytearray((tmp_path / "weights.safetensors").read_bytes())
    data[-5] ^= 1
    (tmp_path / "weights.safetensors").write_bytes(data)
    with pytest.raises(InputError, match=r"^weight file .* is cut short or not the one saved"):
        Graph.load(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^graph file .*graph\.json cannot be read: No such file"):
        Graph.load(tmp_path)
    captured("llama").save(tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"^weight file .*weights\.safetensors is missing"):
        Graph.load(tmp_path)


def test_modules_of_ones_own_cannot_be_stored_and_leave_no_files(tmp_path: Path) -> None:
    graph = captured("llama").copy()
    graph.module.add_submodule("own", nn.ReLU())
    head = graph.fx_node("lm_head")
    with graph.module.graph.inserting_after(head):
        call = graph.module.graph.call_module("own", (head,))
    head.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)
    graph.module.recompile()
    with pytest.raises(InputError, match=r"^submodule 'own' of class ReLU cannot be stored|^submodule 'own'"):
        graph.save(tmp_path / "g")
    assert not (tmp_path / "g").exists()
