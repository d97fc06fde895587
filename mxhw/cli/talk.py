"""`mxhw talk`: an emitted language model answers on the terminal, from its RTL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from unicodedata import category

import typer

from mxhw.cli.app import JsonOption, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.flow.talk import Conversation
    from mxhw.flow.talk_text import Tokenizer
    from mxhw.sim.clocks import Clock
    from mxhw.sim.dataflow_design import DataflowDesign

__all__ = ["talk"]


@app.command()
def talk(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mxhw emit MODEL --lm` made.")],
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="What the model continues. May be repeated: they are continued together."),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option(metavar="LIST", help="Token ids instead of a text, such as 1,2,3. May be repeated."),
    ] = None,
    tokens: Annotated[int, typer.Option(help="The most tokens to generate; an end token stops earlier.")] = 32,
    temperature: Annotated[
        float | None,
        typer.Option(
            show_default="0, or 1 with --top-k",
            help="Draw each token from softmax(logits / temperature), here on the host; 0 takes the most likely one.",
        ),
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", metavar="K", help="Draw from the K most likely tokens only.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    clock: Annotated[
        float | None,
        typer.Option(
            metavar="HZ", show_default="the design's", help="Clock that cycles are turned into time with, such as 2e8."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Let an emitted language model talk: its RTL runs in Verilator, and its text is shown as the tokens come.

    Every token is computed by the RTL; the host only chooses it from the logits. Then come the cycles and seconds that
    prompts and tokens took. Exit code 1 if the design stops or contradicts itself.

    Example: `mxhw talk build/demo-lm --prompt "The river" --tokens 40`
    """
    from mxhw.flow.talk import Conversation, Sampling, check_prompts
    from mxhw.flow.talk_text import load_tokenizer
    from mxhw.sim.language import LanguageSimulation, load_language_design
    from mxhw.sim.streams import SimulationError, StreamError

    output = Output(as_json=json)
    design = load_language_design(folder)
    assert design.language is not None
    clocks = _clocks(folder, design, clock)
    tokenizer = load_tokenizer(folder, design.language)
    prompts = _prompts(folder, prompt or [], ids or [], tokenizer)
    warm = 0.0 if top_k is None else 1.0
    sampling = Sampling(warm if temperature is None else temperature, top_k, seed)
    check_prompts(design.language, prompts, tokens, sampling)
    with output.progress.task("build the simulator", 1) as task:
        model = LanguageSimulation(folder, design=design)
        task.advance()
    try:
        with model:
            conversation = Conversation(model, prompts, tokens=tokens, sampling=sampling)
            texts = _listen(output, conversation, tokenizer)
            model.finish()
    except (SimulationError, StreamError) as error:
        output.say(f"{design.name}: the simulation broke off: {error}")
        raise typer.Exit(1) from error
    record = _record(design, conversation, texts, clocks, model.build_seconds)
    if not json:
        _show_summary(output, record, clocks)
    output.result(record)


def _prompts(folder: Path, texts: list[str], ids: list[str], tokenizer: Tokenizer | None) -> list[list[int]]:
    """Return the token ids of all prompts, those that are texts first."""
    from mxhw.errors import InputError
    from mxhw.flow.talk_text import parse_ids

    if not texts and not ids:
        raise InputError("there is no prompt; give --prompt TEXT, or token ids with --ids LIST")
    if texts and tokenizer is None:
        raise InputError(f"{folder} has no tokenizer; give token ids, for instance --ids 1,2,3")
    encoded = [tokenizer.encode(text) if text and tokenizer else [] for text in texts]
    return encoded + [parse_ids(text) for text in ids]


def _clocks(folder: Path, design: DataflowDesign, hz: float | None) -> tuple[Clock, ...]:
    """Return the clock that was given, or those of the design."""
    from math import isfinite

    from mxhw.errors import InputError
    from mxhw.sim.clocks import Clock, design_clocks

    if hz is None:
        return design_clocks(folder, design)
    if not (isfinite(hz) and hz > 0):
        raise InputError(f"clock must be more than 0 Hz, such as 2e8, not {hz!r}")
    return (Clock(hz, "as given"),)


def _listen(output: Output, conversation: Conversation, tokenizer: Tokenizer | None) -> list[str | None]:
    """Let the model talk; show one sequence as it comes, several at the end. Return their texts, None for mere ids."""
    from mxhw.flow.talk_text import TextWriter

    lines = conversation.lines
    writers = [None if tokenizer is None else TextWriter(tokenizer.decode, line.prompt) for line in lines]
    if output.as_json or len(lines) > 1:
        with output.progress.task("talk", conversation.most) as task:
            for written in conversation:
                if (writer := writers[written.sequence]) is not None:
                    writer.add(written.token)
                task.advance()
    else:
        (line,), (writer,) = lines, writers
        _write(output, _said(tokenizer, line.prompt))
        for written in conversation:
            _write(output, f" {written.token}" if writer is None else writer.add(written.token))
        _write(output, "\n" if writer is None else writer.rest() + "\n")
    texts = [None if writer is None else writer.text for writer in writers]
    if not output.as_json and len(lines) > 1:
        for number, (line, text) in enumerate(zip(lines, texts, strict=True), 1):
            new = "".join(f" {token}" for token in line.generated) if text is None else text
            _write(output, f"[{number}] {_said(tokenizer, line.prompt)}{new}\n")
    return texts


def _said(tokenizer: Tokenizer | None, ids: Sequence[int]) -> str:
    """Return the text of a prompt, or its ids."""
    return " ".join(map(str, ids)) if tokenizer is None else tokenizer.decode(ids).decode("utf-8", "replace")


def _write(output: Output, text: str) -> None:
    """Show a piece of text at once; control characters, which a terminal would obey, are replaced."""
    obeyed = {each for each in text if category(each) == "Cc"} - {"\n", "\t"}
    shown = text.translate(dict.fromkeys(map(ord, obeyed), "\N{REPLACEMENT CHARACTER}"))
    output.console.file.write(shown)
    output.console.file.flush()


def _record(
    design: DataflowDesign,
    conversation: Conversation,
    texts: Sequence[str | None],
    clocks: Sequence[Clock],
    build_seconds: float,
) -> dict[str, Any]:
    counted = conversation.to_json()
    cycles = counted["cycles_per_token"]
    return {
        "design": design.name,
        "sequences": [
            {"prompt": line.prompt, "generated": line.generated, "text": text, "ended": line.ended}
            for line, text in zip(conversation.lines, texts, strict=True)
        ],
        **counted,
        "clocks": [
            {**clock.to_json(cycles), "tokens_per_second": None if cycles is None else clock.hz / cycles}
            for clock in clocks
        ],
        "build_seconds": build_seconds,
    }


def _show_summary(output: Output, record: dict[str, Any], clocks: Sequence[Clock]) -> None:
    """Show what the prompts and the tokens took: cycles of the design, time at its clock, time of the simulation."""
    prompts, generated, cycles = record["prompt_tokens"], record["generated_tokens"], record["cycles_per_token"]
    output.say(
        f"prompt: {prompts:,} tokens in {record['prefill_cycles']:,} cycles"
        + "".join(f"; {clock.words(record['prefill_cycles'])}" for clock in clocks)
    )
    simulated = f"simulation: {record['simulated_cycles_per_second']:,.0f} cycles/s"
    if cycles is None:
        output.say(f"generated: {generated:,} tokens, with the prompt")
    else:
        output.say(
            f"generated: {generated:,} tokens; {cycles:,.1f} cycles a token after the prompt, the last"
            f" {record['cycles_last_token']:,.1f}" + "".join(f"; {clock.rate(cycles, 'tokens')}" for clock in clocks)
        )
        simulated += f", {record['simulated_tokens_per_second']:,.3g} tokens/s after the prompt"
    output.say(f"{simulated}; {record['seconds']:.1f} s, and {record['build_seconds']:.1f} s for the build")
