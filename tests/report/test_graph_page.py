"""The graph's page: every node once, nothing from elsewhere, nothing of a model unescaped, and small and closed."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from mxhw.errors import InputError
from mxhw.flow.assignments import uniform_assignment
from mxhw.ir import Assignment, Graph, Hardware, Symbolic, capture_language_model
from mxhw.passes.analysis import PerNode, PerNodeConfig
from mxhw.report.graph_page import write_graph_page
from mxhw.report.graph_text import shape_text, size_text
from tests.ir.zoo import captured, ids

LAYERS = 32
EVIL = "<script>alert(1)</script>'\"&"
VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """What a page holds: its elements, the rows of nodes with their cells, and the texts of each tag."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, dict[str, str]] = {}  # node → class of a cell → its text
        self.row_ids: dict[str, str] = {}
        self.links: dict[str, list[str]] = {}  # node → ids that its cell "reads" links to
        self.names: Counter[str] = Counter()
        self.summaries: list[str] = []
        self._node = self._cell = ""
        self.feed(self.source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.elements.append((tag, values))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr" and values.get("class") == "node":
            self._node = values["data-name"] or ""
            self.names[self._node] += 1
            self.rows[self._node] = {"kind": values["data-kind"] or ""}
            self.row_ids[values["id"] or ""] = self._node
            self.links[self._node] = []
        elif tag == "td":
            self._cell = values.get("class") or ""
        elif tag == "a" and self._cell == "reads":
            self.links[self._node].append((values["href"] or "").removeprefix("#"))
        elif tag == "summary":
            self.summaries.append("")
        elif tag in ("div", "small") and self._node:
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self._node = self._cell = ""

    def handle_data(self, data: str) -> None:
        if self._node and self._cell:
            row = self.rows[self._node]
            row[self._cell] = row.get(self._cell, "") + data
        if "summary" in self.open:
            self.summaries[-1] += data

    def all(self, tag: str, kind: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.elements if name == tag and values.get("class") == kind]


def page_of(graph: Graph, path: Path, **options: object) -> Page:
    write_graph_page(graph, path, **options)  # type: ignore[arg-type]
    return Page(path)


@pytest.fixture(scope="module")
def deep() -> Graph:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
    )
    return capture_language_model(LlamaForCausalLM(config).eval(), sequence=16, dynamic=False, name="deep")


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt"])
def test_every_node_stands_once_with_what_is_known_of_it(name: str, tmp_path: Path) -> None:
    graph = captured(name)
    page = page_of(graph, tmp_path / "g.html", batch=2, sequence=8)
    assert list(page.names.elements()) == list(page.rows) and set(page.rows) == set(graph.nodes)
    for info in graph.nodes.values():
        row = page.rows[info.name]
        assert row["kind"] == info.op
        assert shape_text(info.output_shape) in row["shape"] and info.dtype in row["shape"]
        assert all(shape_text(shape) in row["shape"] for shape in info.input_shapes)
        assert row["name"].split()[:2] == [info.name.removeprefix(f"{info.layer}."), info.op]
        assert info.module_class in row["name"]
        assert all(site.operand in row["formats"] for site in info.sites)
        read = [page.row_ids[anchor] for anchor in page.links[info.name]]
        assert read == [source for source in info.inputs if source in graph.nodes]
    buttons = {values["data-kind"] for tag, values in page.elements if tag == "button" and "data-kind" in values}
    assert buttons == {info.op for info in graph.nodes.values()}
    shares = [float(re.findall(r"([\d.e-]+) %", row["macs"])[0]) for row in page.rows.values() if row.get("macs")]
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_a_deep_model_is_one_closed_line_and_small(deep: Graph, tmp_path: Path) -> None:
    windows = ids(2, 16)
    formats = uniform_assignment(deep)
    config = PerNodeConfig(assignment=formats, windows=windows, arithmetics=("float", "hardware"))
    comparisons = PerNode(config).comparisons(deep)
    page = page_of(deep, tmp_path / "deep.html", assignment=formats, comparisons=comparisons)
    assert len(page.source.encode()) < 2_000_000
    assert set(page.names.values()) == {1} and set(page.names) == set(deep.nodes)
    structures, layers = page.all("details", "structure"), page.all("details", "layer")
    assert (len(structures), len(layers)) == (1, LAYERS)
    assert not any("open" in values for values in structures + layers)
    assert f"×{LAYERS}" in page.summaries[1] and "model.layers.0 … 31" in page.summaries[1]
    outside = {info.name for info in deep.nodes.values() if info.layer is None}
    before, _, after = page.source.partition("<details class='structure'>")
    assert {name for name in outside if f"data-name='{name}'" in before} == {"model.embed_tokens", "model.rotary_emb"}
    assert after.index("data-name='lm_head'") > after.rindex("<details class='layer'>")


def test_formats_arrays_and_hardware_are_shown(tmp_path: Path) -> None:
    graph = captured("llama")
    node, other = "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj"
    plain = page_of(graph, tmp_path / "plain.html")
    assert "mxfp4" not in plain.source and "hardware" not in plain.rows[node]
    given = Assignment("llama", {f"{node}:weight": "mxfp4", f"{node}:input": "mxint8"}, {node: (3, 5)})
    page = page_of(graph, tmp_path / "given.html", assignment=given)
    assert page.rows[node]["formats"].split() == ["weight", "mxfp4", "input", "mxint8"]
    assert page.rows[other]["formats"].split() == ["weight", "–", "input", "–"]
    assert page.rows[node]["hardware"] == "3×5"
    info = replace(graph.nodes[other], hardware=Hardware(component="mac", parallelism={"rows": 7}))
    assert page_of(graph.with_nodes([info]), tmp_path / "unit.html").rows[other]["hardware"] == "mac 7 rows"
    with pytest.raises(InputError, match="no site"):
        write_graph_page(graph, tmp_path / "bad.html", assignment=Assignment("llama", {"absent:weight": "mxfp4"}))
    assert not (tmp_path / "bad.html").exists()


def test_errors_stand_at_their_nodes_and_the_worst_comes_first(tmp_path: Path) -> None:
    graph = captured("llama")
    config = PerNodeConfig(assignment=uniform_assignment(graph), windows=ids(2, 12))
    (comparison,) = PerNode(config).comparisons(graph)
    page = page_of(graph, tmp_path / "g.html", comparisons=[comparison])
    for each in comparison.nodes:
        shown = page.rows[each.node]["error"]
        if each.local.exact and each.accumulated.exact:
            assert shown == "exact"
        else:
            own, accumulated = shown.strip().removeprefix("own").split("acc.")
            assert own.strip().startswith("exact" if each.local.exact else f"{each.local.sqnr:.1f} dB")
            assert accumulated.strip().startswith(f"{each.accumulated.sqnr:.1f} dB")
    listed = re.findall(r"href='#(n\d+)'", page.source.partition("<main>")[0])
    assert [page.row_ids[anchor] for anchor in listed] == [each.node for each in comparison.nodes[:10]]
    assert f"{comparison.nodes[0].node} {comparison.nodes[0].local.sqnr:.1f} dB" in " ".join(page.summaries)


def test_it_loads_nothing_and_what_a_model_says_is_only_text(tmp_path: Path) -> None:
    graph = captured("llama")
    graph = graph.with_nodes([replace(graph.nodes["lm_head"], module_class=EVIL, dtype=EVIL, fqn=EVIL)])
    for node in graph.module.graph.nodes:  # a name that a state dict may hold
        if "mxhw" in node.meta and node.meta["mxhw"].name == "model.norm":
            node.meta["mxhw"] = replace(node.meta["mxhw"], name=EVIL, op=EVIL)
    graph = Graph(graph.module, replace(graph.signature, model=EVIL))
    page = page_of(graph, tmp_path / "g.html")
    assert EVIL in page.rows
    assert EVIL in page.rows["lm_head"]["name"] and EVIL in page.rows["lm_head"]["shape"]
    assert page.rows[EVIL]["kind"] == EVIL
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert "<script>alert" not in page.source
    for tag, values in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "base")
        assert not values.keys() & {"src", "srcset", "action"}
        assert (values.get("href") or "#").startswith("#")
        assert not any(name.startswith("on") for name in values)
    assert not re.search(r"https?:|//[a-z]+\.|url\(|@import|fetch\(|XMLHttp", page.source)


def test_sizes_and_shapes_as_people_write_them() -> None:
    assert size_text(Symbolic("64*b*s**2 + 3*s**8")) == "64·b·s² + 3·s⁸"
    sizes = {7: "7", 999: "999", 1680: "1.68 k", 2_097_152: "2.1 M", 16_470_000_000_000: "16.5 T"}
    assert {n: size_text(n) for n in sizes} == sizes
    assert shape_text((Symbolic("b"), Symbolic("s + 1"), 14336)) == "[b,\u00a0s + 1,\u00a014336]"


def test_alternating_layers_make_two_structures(tmp_path: Path) -> None:
    config = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "head_dim": 8}
    model = Gemma2ForCausalLM(Gemma2Config(**config, num_attention_heads=4, num_key_value_heads=2, sliding_window=4))
    page = page_of(capture_language_model(model.eval(), sequence=8), tmp_path / "g.html")
    assert len(page.all("details", "structure")) == 2
    assert sum("model.layers.0, 2" in text for text in page.summaries) == 1
    assert sum("model.layers.1, 3" in text for text in page.summaries) == 1
    assert set(page.names.values()) == {1}
