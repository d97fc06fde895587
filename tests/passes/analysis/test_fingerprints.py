"""Digests change with everything that a result depends on, and with nothing else."""

from dataclasses import replace

import torch

from mxhw.ir import Graph
from mxhw.models import capture
from mxhw.passes.analysis.fingerprints import fingerprint_of_format, fingerprint_of_graph, fingerprint_of_model


def test_a_model_is_its_numbers_and_operators(tiny: Graph, tiny_model: torch.nn.Module) -> None:
    before = fingerprint_of_model(tiny)
    assert fingerprint_of_model(capture(tiny_model, sequence=9)) == before  # captured for another length
    site = next(iter(tiny.sites.values()))
    annotated = tiny.with_sites({site.key: replace(site, statistics={"amax": 1.0}, format="mxfp4")})
    assert fingerprint_of_model(annotated) == before
    for path, value in tiny.attributes.items():
        kept = value.detach().clone()
        try:
            value.data.reshape(-1)[0] += 0.5
            assert fingerprint_of_model(tiny) != before, path
        finally:
            value.data.copy_(kept)
    other = tiny.copy()
    scores = other.fx_node("model.layers.0.self_attn.qk")
    scores.args = (*scores.args[:2], 0.25)
    assert fingerprint_of_model(other) != before
    assert fingerprint_of_model(tiny) == before


def test_bodies_of_folded_nodes_count(tiny: Graph) -> None:
    other = tiny.copy()
    node = other.fx_node("model.norm")
    body = other.module.get_submodule(str(node.target))
    constants = [n for n in body.graph.nodes if any(isinstance(a, float) for a in n.args)]
    assert constants
    before = fingerprint_of_model(other)
    kept = constants[0].args
    try:
        constants[0].args = tuple(a * 2 if isinstance(a, float) else a for a in kept)
        assert fingerprint_of_model(other) != before
    finally:
        constants[0].args = kept
    assert fingerprint_of_model(other) == before


def test_formats_by_channel_have_digests_of_their_runs() -> None:
    names = ["bitmod4*64+bitmod3*64", "bitmod4*32+bitmod3*96", "bitmod3*64+bitmod4*64", "bitmod4", "bitmod3"]
    assert len({fingerprint_of_format(name) for name in names}) == len(names)
    assert fingerprint_of_format(names[0]) == fingerprint_of_format(names[0])


def test_a_graph_is_named_by_what_can_be_quantized(tiny: Graph) -> None:
    before = fingerprint_of_graph(tiny)
    norm = tiny.attributes["model.norm.weight"]
    kept = norm.detach().clone()
    try:
        norm.data[0] += 1
        assert fingerprint_of_graph(tiny) == before
        assert fingerprint_of_model(tiny) != before
    finally:
        norm.data.copy_(kept)
