"""`mxhw cost`: what a whole model costs on a platform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mxhw.cli.app import AssignmentOption, ConfigOnlyOption, ExtensionOption, JsonOption, ModelArgument, app
from mxhw.cli.console import Output

if TYPE_CHECKING:
    from mxhw.hardware.machine import MachineCost, PhaseCost
    from mxhw.hardware.platform import Platform
    from mxhw.passes.analysis import Ledger
    from mxhw.passes.analysis.model_cost import ModelCost

__all__ = ["cost"]

_PREFILL, _DECODE = 512, 64
_MICRO = 1e6


@app.command()
def cost(
    model: ModelArgument,
    assignment: AssignmentOption = None,
    platform: Annotated[str, typer.Option(help="A platform's name, or the path of a platform file.")] = "asap7",
    prefill: Annotated[
        int | None, typer.Option(min=0, help=f"Tokens of the prompt; default: {_PREFILL}, or what the context leaves.")
    ] = None,
    decode: Annotated[
        int | None,
        typer.Option(min=0, help=f"Tokens generated behind it; default: {_DECODE}, or less."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Sequences at a time.")] = 1,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Tokens that arrays compute at once; default: what is quickest.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="Tokens that go through a layer before the next one; default: 16.")
    ] = None,
    unfolded: Annotated[bool, typer.Option("--unfolded", help="Every layer has hardware of its own.")] = False,
    place: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT=WHERE",
            help="weights=inside|layers|tiles, head=inside|tiles, cache=inside|outside, embedding=inside|outside, "
            "constants=inside|layers; default: the first that fits. May be repeated.",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=AMOUNT", help="Another budget of the platform: area=5e7. May be repeated."),
    ] = None,
    memory: Annotated[float | None, typer.Option(help="GiB of memory outside, where it is not the platform's.")] = None,
    port: Annotated[
        int | None, typer.Option(min=32, help="Bits of a beat of memory outside; default: what is quickest.")
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show every step, not only kinds of steps.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the roofline: a .png, .svg or .pdf.")] = None,
    config_only: ConfigOnlyOption = False,
    extension: ExtensionOption = None,
    json: JsonOption = False,
) -> None:
    """Predict time, energy and area of a model on a platform, for a prompt and the tokens behind it.

    Sizes are the assignment's; without any, they are those that fit the platform. Weights lie in memories of the
    design, or come from memory outside. No weights are needed.

    Example: `mxhw cost --config-only config.json --platform u55c --prefill 2048 --decode 256`
    """
    from mxhw.flow.assignments import assignment_for
    from mxhw.hardware.platform import load_platform
    from mxhw.models import capture, load_model, load_skeleton
    from mxhw.passes.analysis import ledger
    from mxhw.passes.analysis.model_cost import CostSettings, cost_model

    output = Output(as_json=json)
    target, places = load_platform(platform), _pairs("--place", "weights=tiles", place or [])
    if budget:
        target = target.with_budget(**_amounts(budget))
    if memory is not None:
        target = target.with_memory(memory)
    loaded = load_skeleton(model) if config_only else load_model(model)
    prefill, decode = _lengths(loaded.at_most_context(_PREFILL + _DECODE), prefill, decode)
    graph = capture(loaded, batch=1, sequence=max(1, prefill + decode))
    given = assignment_for(graph, assignment)
    settings = CostSettings(
        prefill=prefill,
        decode=decode,
        batch=batch,
        rows=rows,
        chunk=chunk,
        folded=not unfolded,
        port=port,
        place=places,
    )
    found = cost_model(graph, given, target, settings)
    bits = ledger(graph, given, sequence=max(1, prefill))
    if plot is not None:
        from mxhw.report.roofline import roofline_plot

        roofline_plot(found.cost, plot)
    if not json:
        _show(output, model, target, found, bits, steps=steps)
        if plot is not None:
            output.say(f"roofline: {plot}")
    output.result(
        {"rows": found.rows, "without": list(found.without), **found.cost.to_json(), "ledger": bits.to_json()}
    )


def _pairs(option: str, example: str, words: list[str]) -> dict[str, str]:
    from mxhw.errors import InputError

    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"{option} takes NAME=VALUE, for instance {example}, not {word!r}")
        found[name.strip()] = value.strip()
    return found


def _amounts(words: list[str]) -> dict[str, float]:
    from mxhw.errors import InputError

    found = {}
    for name, text in _pairs("--budget", "area=5e7", words).items():
        try:
            found[name] = float(text)
        except ValueError:
            raise InputError(f"budget {name!r} must be a number, not {text!r}") from None
    return found


def _lengths(context: int, prefill: int | None, decode: int | None) -> tuple[int, int]:
    """Return the tokens of prompt and generation: as asked, else what the model's context has room for."""
    if prefill is None:
        prefill = max(1, min(_PREFILL, context - (_DECODE if decode is None else decode)))
    return prefill, max(0, min(_DECODE, context - prefill)) if decode is None else decode


def _show(output: Output, model: str, platform: Platform, found: ModelCost, bits: Ledger, *, steps: bool) -> None:
    made = found.cost
    phases = [each for each in (made.prefill, made.decode) if each.tokens]
    columns = ["", *(f"{each.name}, {each.tokens:,} tokens" for each in phases)]
    output.table(f"{model} on {platform.name}", columns, _totals(phases))
    for each in phases:
        _show_parts(output, each, steps=steps)
    _show_design(output, platform, found, made)
    output.say(f"true bits: {bits.bits_per_weight:.4f} a weight, {bits.bits_per_input:.4f} an input element")
    if found.without:
        output.say(f"not charged, no hardware is known: {', '.join(found.without)}")


def _totals(phases: list[PhaseCost]) -> list[list[str]]:
    """Return the rows of the table of totals."""
    first = ["time to first token, s", *("–" if each.name != "prefill" else f"{each.seconds:.4g}" for each in phases)]
    rows = [
        ["cycles", *(f"{each.cycles:,.0f}" for each in phases)],
        first,
        ["tokens/s", *(f"{each.tokens_per_second:,.4g}" for each in phases)],
        ["bytes/token from and to outside", *(f"{each.bytes_per_token:,.0f}" for each in phases)],
        ["µJ/token", *(_joules(each) for each in phases)],
        ["bound by", *(_bound(each) for each in phases)],
        ["MACs/s, of the arrays' peak", *(f"{each.roofline.attained / each.roofline.peak:.1%}" for each in phases)],
        ["MACs a byte from outside", *(_intensity(each) for each in phases)],
    ]
    names = list(dict.fromkeys(name for each in phases for name in each.energy.terms))
    rows += [[f"energy of {name}, µJ/token", *(f"{_per_token(each, name):,.4g}" for each in phases)] for name in names]
    kinds = list(dict.fromkeys(name for each in phases for name in each.bits))
    rows += [
        [f"bytes/token: {kind}", *(f"{each.bits.get(kind, 0) / 8 / each.tokens:,.0f}" for each in phases)]
        for kind in kinds
    ]
    return rows


def _per_token(phase: PhaseCost, term: str) -> float:
    return phase.energy.terms.get(term, 0.0) / _MICRO / phase.tokens


def _joules(phase: PhaseCost) -> str:
    known = f"{phase.known_joules_per_token * _MICRO:,.4g}"
    if phase.energy.unknown:
        return f"at least {known} (no figure: {', '.join(sorted(phase.energy.unknown))})"
    return known


def _bound(phase: PhaseCost) -> str:
    total = sum(phase.bounds.values())
    shares = sorted(phase.bounds.items(), key=lambda each: -each[1])
    return ", ".join(f"{name} {share / total:.0%}" for name, share in shares if share) if total else "–"


def _intensity(phase: PhaseCost) -> str:
    roof = phase.roofline
    return f"{roof.intensity:,.4g}, roof: {roof.bound}" if roof.bytes else "nothing comes from outside"


def _show_parts(output: Output, phase: PhaseCost, *, steps: bool) -> None:
    """Print what the parts, and the kinds of steps or every step, have to do."""
    if steps:
        cells = [
            [
                f"{step.part}: {step.name}",
                step.kind,
                f"{step.cycles:,.0f}",
                f"{step.share:.1%}",
                f"{step.macs:,.0f}",
                f"{sum(step.bits.values()) / 8 / phase.tokens:,.0f}",
                f"{step.energy.known / _MICRO / phase.tokens:,.4g}",
                "–" if step.roofline is None else step.roofline.bound,
            ]
            for step in phase.steps
        ]
        head = ["step", "unit", "cycles", "of the phase", "MACs", "bytes/token", "µJ/token", "roof"]
        output.table(phase.name, head, cells)
        return
    for title, attribute in (("by block", "part"), ("by operation", "kind")):
        cells = [
            [
                name,
                f"{row['cycles']:,.0f}",
                f"{row['macs']:,.0f}",
                f"{row['bits'] / 8 / phase.tokens:,.0f}",
                f"{row['energy'] / _MICRO / phase.tokens:,.4g}",
            ]
            for name, row in phase.by(attribute).items()
        ]
        head = [title.removeprefix("by "), "cycles of the slowest", "MACs", "bytes/token", "µJ/token"]
        output.table(f"{phase.name} {title}; steps work at the same time", head, cells)


def _show_design(output: Output, platform: Platform, found: ModelCost, made: MachineCost) -> None:
    """Print what the design takes, where its memories lie, and what it has no RTL for."""
    used = [_amount(name, amount, platform) for name, amount in made.resources.items()]
    output.say(f"used: {'; '.join(used)}")
    port = f"a port of {made.port} bits" if made.port else "no port"
    output.say(f"arrays of {found.rows} rows; chunks of {made.chunk} tokens; {made.placement}; {port}")
    if made.outside:
        lies = ", ".join(f"{name} {bits / 8e6:,.1f} MB" for name, bits in made.outside.items())
        output.say(f"in memory outside: {lies}")
    if made.without_rtl:
        kinds = {step.kind for step in made.decode.steps or made.prefill.steps}
        said = f"{len(made.without_rtl)} steps" if len(kinds) > 1 else ", ".join(made.without_rtl)
        output.say(f"charged, but without RTL so far: {said} (--json names them)")


def _amount(name: str, amount: float, platform: Platform) -> str:
    there = platform.budget.get(name)
    return f"{amount:,.0f} {name}" if there is None else f"{amount:,.0f} {there.unit} of {there.value:,.0f} ({name})"
