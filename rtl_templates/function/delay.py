"""Values that wait beside a pipeline for what it computes."""

from amaranth.hdl import Module, Signal, Value

__all__ = ["delay"]


def delay(m: Module, value: Value, stages: int, *, enable: Value, name: str, reset_less: bool = True) -> Value:
    """Return ``value`` of ``stages`` enabled clock edges ago; valid bits need ``reset_less=False``."""
    for stage in range(stages):
        register = Signal(value.shape(), name=f"{name}_{stage + 1}", reset_less=reset_less)
        with m.If(enable):
            m.d.sync += register.eq(value)
        value = register
    return value
