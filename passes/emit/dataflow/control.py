"""The builders of what controls a language model: order of passes, tokens, who enters a block and who leaves it."""

from collections.abc import Iterator

from mxhw.arithmetic.dataflow import ArgMax, Enter, Field, Keep, PassOrder, Requests, TakeShare, TokenSelect
from mxhw.passes.emit.dataflow.balance import MOST_LANES, Sizes, register_options
from mxhw.passes.emit.dataflow.place import Placed, Port, Request, module_name, register_component
from mxhw.rtl_templates.control import (
    ArgMaxUnit,
    EnterUnit,
    FieldUnit,
    KeepUnit,
    PassOrderUnit,
    TakeShareUnit,
    TokenSelectUnit,
)

__all__: list[str] = []


@register_component(PassOrder, parallelism=())
def _pass_order(operation: PassOrder, request: Request) -> Placed:
    kind = operation.x
    return Placed(
        module=module_name(
            "pass_order",
            f"{operation.layers}x{operation.chunk}",
            v=kind.vocabulary,
            s=kind.sequences,
            k=kind.keys,
        ),
        component=PassOrderUnit(kind=kind, layers=operation.layers, chunk=operation.chunk),
        inputs=(Port("requests", kind),),
        output=Port("y", operation.output),
        parallelism={},
    )


@register_component(Field, parallelism=())
def _field(operation: Field, request: Request) -> Placed:
    kind = operation.x
    of = {"v": kind.vocabulary} if isinstance(kind, Requests) else {"l": kind.layers}
    return Placed(
        module=module_name("field", operation.name, **of, s=kind.sequences, k=kind.keys),
        component=FieldUnit(operation=operation),
        inputs=(Port("x", kind),),
        output=Port("y", operation.output),
        parallelism={},
    )


@register_component(TokenSelect, parallelism=())
def _token_select(operation: TokenSelect, request: Request) -> Placed:
    kind = operation.x
    return Placed(
        module=module_name("token_select", str(operation.chunk), v=kind.vocabulary, s=kind.sequences, k=kind.keys),
        component=TokenSelectUnit(kind=kind, chunk=operation.chunk),
        inputs=(Port("requests", kind), Port("feedback", operation.inputs[1])),
        output=Port("y", operation.output),
        parallelism={},
    )


@register_component(Enter)
def _enter(operation: Enter, request: Request) -> Placed:
    x, kind, lanes = operation.x, operation.passes, request.get("lanes", 1)
    return Placed(
        module=module_name("enter", f"{x.length}x{lanes}", b=x.bits, l=kind.layers, s=kind.sequences, k=kind.keys),
        component=EnterUnit(kind=kind, length=x.length, bits=x.bits, lanes=lanes),
        inputs=(Port("passes", kind), Port("embedded", x, lanes), Port("returned", x, lanes)),
        output=Port("y", x, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(Keep)
def _keep(operation: Keep, request: Request) -> Placed:
    x, kind, lanes = operation.x, operation.passes, request.get("lanes", 1)
    return Placed(
        module=module_name(
            f"keep_{operation.which}", f"{x.length}x{lanes}", b=x.bits, l=kind.layers, s=kind.sequences, k=kind.keys
        ),
        component=KeepUnit(kind=kind, which=operation.which, length=x.length, bits=x.bits, lanes=lanes),
        inputs=(Port("passes", kind), Port("x", x, lanes)),
        output=Port("y", x, lanes),
        parallelism={"lanes": lanes},
    )


@register_component(ArgMax)
def _arg_max(operation: ArgMax, request: Request) -> Placed:
    x, lanes = operation.x, request.get("lanes", 1)
    return Placed(
        module=module_name("arg_max", f"{x.length}x{lanes}", b=x.bits),
        component=ArgMaxUnit(length=x.length, bits=x.bits, lanes=lanes),
        inputs=(Port("x", x, lanes),),
        output=Port("y", operation.output),
        parallelism={"lanes": lanes},
    )


@register_component(TakeShare, parallelism=())
def _take_share(operation: TakeShare, request: Request) -> Placed:
    x, start, count = operation.x, operation.start, operation.count
    return Placed(
        module=module_name("take_share", f"{start}x{count}of{x.beats}", b=x.bits),
        component=TakeShareUnit(bits=x.bits, period=x.beats, start=start, count=count),
        inputs=(Port("x", x),),
        output=Port("y", operation.output),
        parallelism={},
    )


@register_options(Enter, Keep, ArgMax)
def _lanes(operation: Enter | Keep | ArgMax) -> Iterator[Sizes]:
    lanes = 1
    while lanes <= MOST_LANES and operation.x.length % lanes == 0:
        yield {"lanes": lanes}
        lanes *= 2
