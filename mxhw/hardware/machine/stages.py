"""Which steps of a block ask for memory outside at the same time, and which after each other.

    q, k, v  →  scores, values  →  o  →  router, gate, up  →  down

A stage is what a token meets side by side: its products and attention units share the port. Stages follow each other:
in the decoding of one token a stage has nothing to do until the one before has given its vector.
"""

from mxhw.hardware.structure import Design, Product, Scores, Values

__all__ = ["stages"]


def stages(design: Design) -> tuple[tuple[str, ...], ...]:
    """Return the products and attention units of a design by the stage that they belong to, in order.

    Scores and values are of one stage: heads follow each other through both.
    """
    level: dict[str, int] = {}
    found: dict[int, list[str]] = {}
    for name, step in design.steps.items():
        before = max((level[source] for source in step.inputs if source in level), default=0)
        level[name] = before + isinstance(step.unit, Product | Scores)
        if isinstance(step.unit, Product | Scores | Values):
            found.setdefault(level[name], []).append(name)
    return tuple(tuple(found[each]) for each in sorted(found))
