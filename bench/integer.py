"""Perplexity of whole models in integer arithmetic against float emulation of the same assignment, and the speed.

    python bench/integer.py [MODEL ...] [--windows 64] [--variants 3] [--context 256] [--only FORMAT]

Low-bit quantizers amplify every perturbation, so that one run is one sample: losses are means over variants of a model,
whose norm gains are off by a random 2^-13 (less than what a 16-bit stream rounds). The standard error is that of the
windows' mean differences, so it holds the noise of the text and of the codes that flip. Attention operands are alike on
both sides: queries, keys and values int8-e8m0 per token and head, probabilities as they are. The float embedding is
compared with the integers' 8-bit one. A model that comes without texts is scored on what it writes itself.
"""

import argparse
import math
import time
from dataclasses import dataclass, field
from statistics import fmean

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mxhw.ir import Assignment, Graph
from mxhw.models import LoadedModel, capture, load_model, read_ids, windows, written_windows
from mxhw.passes.transform import Quantize, QuantizeConfig, WeightCache
from mxhw.passes.transform.lower import IntegerModel, calibrate, lower_graph

FORMATS = (("bitmod4", "int8-e8m0"), ("bitmod3", "int8-e8m0"), ("dialect4", "dialect4-online"))
ATTENTION = "int8-e8m0"
CALIBRATION_WINDOWS = 8
PERTURBATION = 2.0**-13
BATCH = 4


@dataclass
class Figures:
    """Losses per variant and window, processor time against the float graph, and saturated elements."""

    emulation: list[Tensor] = field(default_factory=list)
    integer: list[Tensor] = field(default_factory=list)
    ratio: list[float] = field(default_factory=list)
    saturated: int = 0
    elements: int = 0

    @property
    def differences(self) -> Tensor:
        """What integers lose more, [windows] in nats a token, mean of the variants."""
        return (torch.stack(self.integer) - torch.stack(self.emulation)).mean(0)

    def row(self) -> tuple[str, ...]:
        """Perplexities, their difference and its standard error in percent, saturation, time."""
        emulation, integer = (float(torch.stack(losses).mean().exp()) for losses in (self.emulation, self.integer))
        off = self.differences
        return (
            f"{emulation:.4f}",
            f"{integer:.4f}",
            f"{100 * math.expm1(float(off.mean())):+.3f}",
            f"{100 * float(off.std()) / math.sqrt(len(off)):.3f}",
            f"{self.saturated:,} of {self.elements:.1e}",
            f"{fmean(self.ratio):.1f} × float",
        )


def losses(model: Graph | IntegerModel, test: Tensor) -> tuple[Tensor, float]:
    """Return the mean loss of every window, [windows] in nats a token, and the seconds of processor time."""
    start, found = time.process_time(), []
    for chunk in test.split(BATCH):
        logits = model.run(chunk)[:, :-1].double()
        found.append(-logits.log_softmax(-1).gather(-1, chunk[:, 1:, None]).squeeze(-1).mean(-1))
    return torch.cat(found), time.process_time() - start


def assignment_of(graph: Graph, weights: str, inputs: str) -> Assignment:
    """Return what both sides compute: one scale per token and head for all that attention reads."""
    formats = {}
    attention = {("attn_qk", "lhs"), ("attn_qk", "rhs"), ("attn_pv", "cache")}
    for key, site in graph.sites.items():
        if site.operand in ("weight", "input"):
            formats[key] = weights if site.operand == "weight" else inputs
        elif (graph.nodes[site.node].op, site.operand) in attention:
            formats[key] = ATTENTION
    return Assignment(graph.signature.model, formats)


def texts(loaded: LoadedModel, context: int, count: int) -> tuple[Tensor, Tensor]:
    """Return windows to calibrate on and windows to score."""
    if {"calibration", "heldout"} <= loaded.texts.keys():
        held_in = windows(read_ids("calibration", loaded), context, CALIBRATION_WINDOWS)
        return held_in, windows(read_ids("heldout", loaded), context, count)
    written = written_windows(loaded, context, CALIBRATION_WINDOWS + count)
    return written[:CALIBRATION_WINDOWS], written[CALIBRATION_WINDOWS:]


def perturb(model: torch.nn.Module, originals: dict[str, Tensor], seed: int) -> None:
    """Multiply the gains of norms by 1 plus a little; with seed 0 by 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                originals.setdefault(name, parameter.clone())
                noise = torch.randn(parameter.shape, generator=generator) * (PERTURBATION if seed else 0.0)
                parameter.copy_(originals[name] * (1 + noise))


def measure(name: str, context: int, count: int, variants: int, only: str | None, console: Console) -> None:
    """Print the table of one model."""
    loaded = load_model(name)
    graph = capture(loaded, batch=1, sequence=context)
    held_in, test = texts(loaded, context, count)
    figures = {formats: Figures() for formats in FORMATS if only in (None, formats[0])}
    originals: dict[str, Tensor] = {}
    cache, floats = WeightCache(), []
    for seed in range(variants):
        perturb(loaded.model, originals, seed)
        ranges = calibrate(graph, held_in)
        plain, forward = losses(graph, test)
        floats.append(plain)
        for formats, found in figures.items():
            assignment = assignment_of(graph, *formats)
            emulation = Quantize(QuantizeConfig(assignment=assignment), cache)(graph).graph
            found.emulation.append(losses(emulation, test)[0])
            model = IntegerModel(lower_graph(graph, assignment, ranges, keys=context))
            integer, seconds = losses(model, test)
            found.integer.append(integer)
            found.ratio.append(seconds / forward)
            found.saturated += sum(model.saturated.values())
            found.elements += model.elements
    predictions, perplexity = test.shape[0] * (test.shape[1] - 1), float(torch.stack(floats).mean().exp())
    title = f"{name}: {predictions:,} predictions, {variants} variants, float perplexity {perplexity:.4f}"
    table = Table(title=title)
    for column in ("weights × inputs", "float emulation", "integer", "difference, %", "one s.e.", "saturated", "time"):
        table.add_column(column, justify="left" if column.startswith("weights") else "right")
    for formats, found in figures.items():
        table.add_row(" × ".join(formats), *found.row())
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["demo"], metavar="MODEL")
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--only", metavar="FORMAT", choices=[formats[0] for formats in FORMATS])
    given = parser.parse_args()
    console = Console(width=140)
    for name in given.models:
        measure(name, given.context, given.windows, given.variants, given.only, console)


if __name__ == "__main__":
    main()
