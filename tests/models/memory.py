"""Run in a process of its own: score a model in memory or streamed, and say how much memory that took.

    python tests/models/memory.py FOLDER in-memory|streamed WINDOWS TOKENS FORMAT

FORMAT is that of all weights, "none" for the float model only. Prints one JSON object: scores as hexadecimal floats,
and in bytes the peak resident memory above that of the imports.
"""

import json
import sys

import torch

from mxhw.ir import Assignment
from mxhw.models import capture, load_model, stream_model
from mxhw.passes.analysis import QualityEvaluator, streamed_quality
from mxhw.passes.transform import Quantize, QuantizeConfig
from tests.models.peak import peak


def import_everything() -> None:
    """Load what both ways load, so that the baseline holds it: the model classes, and the C kernels of the formats."""
    from transformers.models.llama import modeling_llama  # noqa: F401

    from mxhw.formats import parse_format

    parse_format("mxfp4").fake_quantize(torch.randn(4, 64))


def main() -> None:
    folder, mode, windows, tokens, name = sys.argv[1:]
    torch.manual_seed(0)
    ids = torch.randint(0, 1000, (int(windows), int(tokens)))
    import_everything()
    base = peak()
    if mode == "streamed":
        model = stream_model(folder, sequence=ids.shape[1])
        graph = model.graph
    else:
        graph = capture(load_model(folder), sequence=ids.shape[1])
    formats = {key: name for key, site in graph.sites.items() if site.operand == "weight"} if name != "none" else {}
    designs = {"design": QuantizeConfig(assignment=Assignment("model", formats))} if formats else {}
    if mode == "streamed":
        found = streamed_quality(model, ids, designs)
        qualities = [found.reference, *found.qualities.values()]
    else:
        evaluator = QualityEvaluator(graph, ids)
        qualities = [evaluator.reference()]
        qualities += [evaluator(Quantize(config)(graph).graph) for config in designs.values()]
    scores = [[value.hex() for value in (quality.perplexity, quality.kl, quality.agreement)] for quality in qualities]
    json.dump({"scores": scores, "bytes": peak() - base, "base": base}, sys.stdout)


if __name__ == "__main__":
    main()
