"""Export a tiny model, load it as a user does, and compare with the graph whose weights are rounded."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

import mxhw
from mxhw.ir import Assignment, Graph
from mxhw.models import LoadedModel, load_model
from mxhw.models.export import ExportReport, export_checkpoint
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.ir.zoo import SEQUENCE, eager_model, ids, largest_difference, logits


def saved(name: str, folder: Path) -> Path:
    """The family's tiny model as `save_pretrained` writes it."""
    eager_model(name).save_pretrained(folder)
    return folder


def layers(graph: Graph, multiple: int = 1) -> list[str]:
    """The layers whose weights have a reduction dimension that is a multiple of `multiple`."""
    sites = [site for site in graph.sites.values() if site.operand == "weight"]
    return [site.node for site in sites if int(site.shape[site.axis]) % multiple == 0]


def in_turn(graph: Graph, formats: Sequence[str], multiple: int = 1) -> Assignment:
    """The formats one after the other over the layers."""
    names = layers(graph, multiple)
    return Assignment("tiny", {f"{name}:weight": formats[i % len(formats)] for i, name in enumerate(names)})


@cache
def loaded_and_captured(source: Path, dtype: str = "float32") -> tuple[LoadedModel, Graph]:
    """A model and its graph; one per folder, so a test may not change what is in there."""
    loaded = load_model(source, getattr(torch, dtype))
    return loaded, mxhw.capture(loaded, sequence=SEQUENCE)


def captured(source: Path, dtype: str = "float32") -> Graph:
    return loaded_and_captured(source, dtype)[1]


def export(source: Path, assignment: Assignment, out: Path, **options: Any) -> ExportReport:
    return export_checkpoint(*loaded_and_captured(source), assignment, out, **options)


def reloaded(folder: Path) -> nn.Module:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def difference(source: Path, assignment: Assignment, report: ExportReport, tokens: Tensor | None = None) -> float:
    """The largest difference of logits between what the export loads as and the rounded graph of `source`."""
    tokens = ids(2, SEQUENCE) if tokens is None else tokens
    graph = captured(source, report.dtype)
    expected = Quantize(QuantizeConfig(assignment=assignment))(graph).graph.run(tokens)
    assert largest_difference(expected, graph.run(tokens)) > 0
    model = reloaded(Path(report.folder))
    assert model.dtype == expected.dtype
    return largest_difference(logits(model, tokens), expected)
