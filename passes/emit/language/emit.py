"""A whole language model as a folder: the design, its images, a conversation, and what a host has to know."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any

from mxhw.arithmetic.dataflow import Integers
from mxhw.hardware import Platform
from mxhw.passes.emit.dataflow.beats import hex_lines, payload_bits
from mxhw.passes.emit.dataflow.emit import EmittedDesign
from mxhw.passes.emit.dataflow.folder import design_folder
from mxhw.passes.emit.dataflow.names import check_design_name, stream_names
from mxhw.passes.emit.dataflow.place import input_lanes, place_graph
from mxhw.passes.emit.dataflow.plan import DesignPlan
from mxhw.passes.emit.dataflow.top import Top, check_depths
from mxhw.passes.emit.dataflow.write import DesignFiles, write_design, write_images
from mxhw.passes.emit.language.port import port_words
from mxhw.passes.emit.language.timing import LanguageCycles, language_cycles
from mxhw.passes.emit.language.values import PassRecorded
from mxhw.passes.transform.fold import WEIGHTS, Conversation, LanguageGraph
from mxhw.sim.dataflow_design import LanguageModel

__all__ = ["HostFiles", "emit_language"]

_TOKENIZER = "tokenizer"


@dataclass(frozen=True, kw_only=True)
class HostFiles:
    """What a host needs to talk in text.

    Attributes
    ----------
    tokenizer : name → content of the files of a tokenizer; none for bytes.
    bos, eos : token ids that begin and end a text.
    """

    tokenizer: Mapping[str, bytes]
    bos: int | None = None
    eos: int | None = None


def emit_language(
    graph: LanguageGraph,
    conversation: Conversation,
    folder: Path,
    *,
    name: str,
    plan: DesignPlan,
    assignment: Mapping[str, Any],
    host: HostFiles,
    platform: Platform | None = None,
    force: bool = False,
) -> EmittedDesign:
    """Write the design of a language model to ``folder``, whole or not at all; the same arguments give the same bytes.

    Parameters
    ----------
    conversation : what the bench asks; every stream of it is compared.
    name : of the design; its top is ``{name}_core``.
    plan : parallelism and FIFO depths, from :func:`.plan.plan_language`.
    assignment : what ``Assignment.to_json`` gives; its hash stands in the head of every image.
    platform : that the plan was made for.
    force : replace a folder that holds another design.

    Raises
    ------
    InputError
        If an operation has no component, a name, a parallelism or a depth is impossible, the design would stop, or the
        folder holds something else.
    """
    check_design_name(name)
    placed = place_graph(graph, plan.parallelism)
    check_depths(plan.depths, graph)
    names = stream_names([*graph.inputs, *graph.steps])
    words = port_words(graph, placed)
    recorded = PassRecorded(graph, conversation, words)
    digest = assignment_hash(assignment)
    prefill = len(conversation.sequences)
    cycles = language_cycles(graph, placed, plan.depths, conversation.requests, recorded.tokens, prefill)
    with design_folder(folder, force=force) as writer:
        head = f"// mxhw image of {digest} {name}\n"
        images, paths = write_images(writer, placed, names, head=head)
        written = {}
        if words:
            written[WEIGHTS] = path = f"images/{names[WEIGHTS]}.hex"
            beats = recorded.beats(WEIGHTS, 1)
            writer.write(path, head + hex_lines(beats, payload_bits(graph.types[WEIGHTS], 1)))
            images[path] = len(beats)
        lanes = input_lanes(graph, placed, graph.feedback)
        top = Top(graph, placed, names, lanes, plan.depths, paths, graph.feedback)
        for file, content in host.tokenizer.items():
            writer.write_binary(f"{_TOKENIZER}/{file}", content)
        files = DesignFiles(
            name=name,
            top=top,
            images=images,
            written=written,
            recorded=recorded,
            tokens=recorded.count("passes"),
            position=graph.positions_room - 1,
            cycles=cycles.total,
            assignment=assignment,
            platform=platform,
            language=_record(top, recorded, digest, host, cycles),
            domains=graph.domains,
        )
        design = write_design(writer, files)
    return EmittedDesign(folder, design, placed)


def assignment_hash(assignment: Mapping[str, Any]) -> str:
    """Return the SHA-256 of an assignment."""
    return sha256(dumps(assignment, sort_keys=True).encode()).hexdigest()


def _record(top: Top, recorded: PassRecorded, digest: str, host: HostFiles, cycles: LanguageCycles) -> LanguageModel:
    graph, prompts = recorded.graph, recorded.conversation.prompts
    requests, logits = graph.requests, graph.types[graph.logits]
    assert isinstance(logits, Integers)
    (stream,) = (name for name, kind in graph.inputs.items() if kind == requests)
    written = sum(map(len, recorded.conversation.sequences))
    return LanguageModel(
        vocabulary=requests.vocabulary,
        keys=requests.keys,
        sequences=requests.sequences,
        chunk=graph.chunk,
        layers=graph.layers,
        folded=graph.folded,
        requests=top.names[stream],
        logits=top.names[graph.logits],
        tokens=top.names[graph.chooser],
        weights=top.names.get(WEIGHTS),
        logits_bits=logits.bits,
        logits_lanes=top.placed[graph.logits].output.lanes,
        logits_exponent=logits.exponent,
        tokenizer=_TOKENIZER if host.tokenizer else None,
        bos=host.bos,
        eos=host.eos,
        assignment_hash=digest,
        domains={
            domain: tokens.places()
            for domain, tokens in recorded.tokens.items()
            if domain != "words" or WEIGHTS in top.names
        },
        prompt_tokens=sum(prompts),
        generated_tokens=written - sum(prompts),
        prefill_tokens=len(prompts),
        prefill_cycles=cycles.prefill,
    )
