"""From a model and an assignment to a design that generates text, with a conversation to prove it by.

calibrate ▸ lower to integers ▸ fold the layers ▸ choose parallelism ▸ size FIFOs ▸ generate in software ▸ emit
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mxhw.errors import InputError
from mxhw.flow.assignments import assignment_for, checked_assignment, chosen_sizes
from mxhw.flow.blocks import CALIBRATION, CALIBRATION_TOKENS, CALIBRATION_WINDOWS, EmittedPart, design_name
from mxhw.hardware import Platform, load_platform
from mxhw.ir import Assignment, Graph
from mxhw.models import LoadedModel, capture, load_model, read_ids, windows, written_windows
from mxhw.passes.emit.dataflow import check_folder
from mxhw.passes.emit.flow import write_flow
from mxhw.passes.emit.language import HostFiles, emit_language, plan_language, with_shares
from mxhw.passes.transform.fold import LanguageGraph, continued, greedy, language_graph, with_weight_port
from mxhw.passes.transform.lower import Ranges, calibrate, lower_graph
from mxhw.progress import Progress, SilentProgress

__all__ = [
    "LanguageRequest",
    "LanguageSettings",
    "calibration_ranges",
    "emit_language_model",
    "emit_lowered",
    "integer_stream",
    "lower_language",
]

PART = "language model"
PROMPT_TOKENS = 8
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tok*.bin",
)


@dataclass(frozen=True, kw_only=True)
class LanguageSettings:
    """What is built, and what it is proven on.

    Attributes
    ----------
    keys : longest sequence that the KV caches hold.
    sequences : that are generated together.
    chunk : tokens of prompts that pass a layer before the next one's weights are used.
    fold : one physical block for all layers; else each has its own.
    tokens : that are generated after each prompt.
    weight_port : bits of the port that the weights of folded layers come through, into memories of two layers; None:
        memories of the design hold those of all.
    force : replace a folder that holds another design.
    """

    keys: int = 256
    sequences: int = 2
    chunk: int = 16
    fold: bool = True
    tokens: int = 32
    weight_port: int | None = None
    force: bool = False


@dataclass(frozen=True, kw_only=True)
class LanguageRequest:
    """A language model by names, as a command line gives it.

    Attributes
    ----------
    prompts : what the proof begins with, at most as many as there are sequences; none: the begin of the model's text.
    calibration : text that exponents are chosen on; by default the model's own, or what it writes itself.
    """

    model: str
    assignment: Path | None = None
    platform: str | None = None
    prompts: tuple[str, ...] = ()
    calibration: str | None = None
    settings: LanguageSettings = LanguageSettings()


def emit_language_model(request: LanguageRequest, folder: Path, progress: Progress | None = None) -> EmittedPart:
    """Load, capture, calibrate, lower, fold and emit.

    Raises
    ------
    InputError
        If something does not exist, has no component or does not fit; nothing is written then.
    """
    check_folder(folder)
    platform = None if request.platform is None else load_platform(request.platform)
    loaded = load_model(request.model)
    settings = request.settings
    _check_room(loaded, settings)
    graph = capture(loaded, batch=1, sequence=settings.keys)
    assignment = assignment_for(graph, request.assignment)
    prompts = _prompts(loaded, request)
    ranges = calibration_ranges(loaded, graph, request.calibration, progress)
    lowered = lower_language(graph, assignment, ranges, settings)
    return emit_lowered(lowered, graph, assignment, prompts, folder, settings, platform=platform, loaded=loaded)


def calibration_ranges(
    loaded: LoadedModel, graph: Graph, calibration: str | None = None, progress: Progress | None = None
) -> Ranges:
    """Return the ranges of a model on a text, its own calibration text, or what it writes itself."""
    context = loaded.at_most_context(CALIBRATION_TOKENS)
    if calibration is None and CALIBRATION not in loaded.texts:
        held_in = written_windows(loaded, context, CALIBRATION_WINDOWS)
    else:
        ids = read_ids(calibration or CALIBRATION, loaded)
        context = min(context, ids.numel())
        held_in = windows(ids, context, min(CALIBRATION_WINDOWS, max(1, ids.numel() // context)))
    return calibrate(graph, held_in, progress or SilentProgress())


def integer_stream(
    loaded: LoadedModel, assignment: Assignment | None, ids: Tensor, tokens: int, calibration: str | None = None
) -> tuple[Iterator[Tensor], Assignment]:
    """Return what a model continues in integers, token by token (int64 [1]), and the assignment that it does it with.

    The tokens are those of an emitted design: every one is computed from the whole sequence before it. It ends at an
    end token.

    Raises
    ------
    InputError
        If the assignment does not fit, the model has no integer arithmetic, or its context is too short.
    """
    longest = len(ids) + tokens
    if longest > loaded.at_most_context(longest):
        raise InputError(
            f"prompt and tokens are {longest}, more than the context of {loaded.at_most_context(longest)} positions; "
            "give a shorter prompt or fewer tokens"
        )
    graph = capture(loaded, batch=1, sequence=longest)
    given = checked_assignment(graph, assignment)
    whole = lower_graph(graph, given, calibration_ranges(loaded, graph, calibration), keys=longest)
    return continued(whole, ids, tokens, loaded.end_tokens), given


def lower_language(graph: Graph, assignment: Assignment, ranges: Ranges, settings: LanguageSettings) -> LanguageGraph:
    """Return the design's graph."""
    whole = lower_graph(graph, assignment, ranges, keys=settings.keys)
    return language_graph(whole, graph.blocks, fold=settings.fold, sequences=settings.sequences, chunk=settings.chunk)


def emit_lowered(
    lowered: LanguageGraph,
    graph: Graph,
    assignment: Assignment,
    prompts: Sequence[Tensor],
    folder: Path,
    settings: LanguageSettings,
    *,
    platform: Platform | None = None,
    loaded: LoadedModel | None = None,
) -> EmittedPart:
    """Write the design of a lowered language model into ``folder``, whole or not at all.

    Parameters
    ----------
    prompts : token ids of each sequence of the proof, int64 [tokens].
    loaded : the model that it came from; None: without a tokenizer.

    Raises
    ------
    InputError
        If something has no component or does not fit; nothing is written then.
    """
    port = settings.weight_port
    planned = lowered if port is None else with_weight_port(lowered, port)
    plan = plan_language(planned, platform=platform, fixed=_sizes(lowered, assignment))
    if port is not None:
        lowered = with_shares(lowered, port, plan.parallelism)
    emitted = emit_language(
        lowered,
        greedy(lowered, prompts, settings.tokens),
        folder,
        name=design_name(graph.signature.model, "lm"),
        plan=plan,
        assignment=assignment.to_json(),
        host=HostFiles(tokenizer={}) if loaded is None else _host(loaded),
        platform=platform,
        force=settings.force,
    )
    return EmittedPart(PART, emitted, plan, write_flow(folder, emitted.design).note)


def _check_room(loaded: LoadedModel, settings: LanguageSettings) -> None:
    """Raise InputError unless the KV memory is one of the model, and has room for what is generated."""
    keys, tokens, context = settings.keys, settings.tokens, loaded.at_most_context(settings.keys)
    if keys > context:
        raise InputError(f"keys must be at most the model's context of {context} positions, not {keys}; give fewer")
    if keys <= tokens:
        raise InputError(
            f"keys must be more than the {tokens} tokens that are written, not {keys}; give more, or fewer tokens"
        )


def _prompts(loaded: LoadedModel, request: LanguageRequest) -> list[Tensor]:
    """Return the prompts of the proof: those given, or pieces of text that follow each other."""
    count = request.settings.sequences
    if len(request.prompts) > count:
        raise InputError(
            f"{len(request.prompts)} prompts for {count} sequences; give fewer prompts, or more --sequences"
        )
    if request.prompts:
        return [loaded.encode(prompt.encode()) for prompt in request.prompts]
    wanted = count * PROMPT_TOKENS
    text = read_ids("heldout", loaded) if "heldout" in loaded.texts else written_windows(loaded, wanted + 1, 1)[0]
    if len(text) < wanted:
        raise InputError(
            f"the held-out text has {len(text)} tokens, fewer than {wanted} for {count} prompts; give --prompt"
        )
    return list(torch.split(text[:wanted], PROMPT_TOKENS))


def _host(loaded: LoadedModel) -> HostFiles:
    """Return what a host needs to read and write the model's text."""
    found: dict[str, bytes] = {}
    if loaded.folder is not None:
        for pattern in TOKENIZER_FILES:
            found |= {file.name: file.read_bytes() for file in sorted(loaded.folder.glob(pattern)) if file.is_file()}
    begin = getattr(loaded.model.config, "bos_token_id", None)
    ends = loaded.end_tokens
    return HostFiles(tokenizer=found, bos=begin if isinstance(begin, int) else None, eos=ends[0] if ends else None)


def _sizes(lowered: LanguageGraph, assignment: Assignment) -> Mapping[str, dict[str, int]]:
    """Return the sizes that the assignment has, those of the first layer where several share a step.

    Tokens come one by one, so that rows of arrays are not used.
    """
    found = {}
    for name, members in lowered.members.items():
        step = lowered.whole.steps[members[0]]
        sizes = chosen_sizes(assignment, step.name, step.node, lowered.steps[name].operation.kind)
        if kept := {each: size for each, size in sizes.items() if each != "rows"}:
            found[name] = kept
    return found
