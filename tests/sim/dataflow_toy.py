"""A hand-written design in a folder like an emitted one: steps with taps, streams of many widths, a ROM.

norm adds weights, square rounds, scores sends one beat a key that is seen, add joins square, norm and the position.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mxhw.sim.dataflow import DataflowDesign, DataflowStep, PayloadField, StreamBeats

PLACE = Path(__file__).with_name("dataflow_toy")
BEATS = 4  # a token, of two lanes each
SEQUENCE = 3  # tokens; then positions begin again
LANES16 = (PayloadField(name="value", bits=16, lanes=2, signed=True),)
LANES40 = (PayloadField(name="value", bits=40, lanes=2, signed=True),)
SCORE = (PayloadField(name="score", bits=12, signed=True), PayloadField(name="last", bits=1))


def write_dataflow_toy(folder: Path, *, tokens: int = 6, **changes: Any) -> Path:
    """Write the design with `tokens` tokens of random inputs; `changes` are of the record's fields."""
    choose = np.random.default_rng(tokens)
    x = choose.integers(-(1 << 14), 1 << 14, (tokens * BEATS, 2))
    weights = choose.integers(-(1 << 14), 1 << 14, 8)
    positions = np.arange(tokens) % SEQUENCE
    norm = x + np.resize(weights.reshape(4, 2), x.shape)
    square = (norm * norm + 8) >> 4
    add = square + norm + positions.repeat(BEATS)[:, None]
    keys = [(key, position) for position in positions.tolist() for key in range(position + 1)]
    scores = [(key == position) << 12 | 7 * key + position for key, position in keys]
    beats = {
        "x": _lanes(x, 16),
        "positions": positions.tolist(),
        "norm": _lanes(norm, 16),
        "square": _lanes(square, 40),
        "scores": scores,
        "add": _lanes(add, 40),
    }
    shutil.copytree(PLACE, folder, dirs_exist_ok=True)
    for part in ("images", "beats"):
        (folder / part).mkdir(exist_ok=True)
    write_words(folder / "images" / "norm.hex", [word & 0xFFFF for word in weights.tolist()])
    for name, words in beats.items():
        write_words(folder / "beats" / f"{name}.hex", words)
    (folder / "design.json").write_text(dataflow_toy_design(tokens, **changes).to_json())
    return folder


def dataflow_toy_design(tokens: int = 6, **changes: Any) -> DataflowDesign:
    """Return the record."""
    count = tokens * BEATS
    seen = tuple(token % SEQUENCE + 1 for token in range(tokens))
    steps = (
        _step("norm", {"x": 0}, LANES16, count, BEATS),
        _step("square", {"layers_0_norm": 0}, LANES40, count, BEATS),
        _step("scores", {"positions": 0}, SCORE, sum(seen), seen),
        _step("add", {"layers_0_square": 0, "layers_0_norm": 2, "positions": 0}, LANES40, count, BEATS),
    )
    record: dict[str, Any] = {
        "name": "toy",
        "top": "toy_core",
        "sources": ("toy_core.v", "modules/steps.v", "modules/streams.v"),
        "images": {"images/norm.hex": 8},
        "inputs": {
            "x": StreamBeats(beats="beats/x.hex", width=32, count=count),
            "positions": StreamBeats(beats="beats/positions.hex", width=5, count=tokens),
        },
        "outputs": {
            "layers_0_add": StreamBeats(beats="beats/add.hex", width=80, count=count),
            "layers_0_scores": StreamBeats(beats="beats/scores.hex", width=13, count=sum(seen)),
        },
        "steps": steps,
        "tokens": tokens,
        "cycles": count + 3,
        "hash": "0" * 64,
        "version": "0",
    }
    return DataflowDesign(**record | changes)


def write_words(path: Path, words: list[int]) -> None:
    """Write a file of beats or of a memory."""
    path.write_text("".join(f"{word:x}\n" for word in words))


def _step(
    kind: str, fifo: dict[str, int], fields: tuple[PayloadField, ...], count: int, token_beats: int | tuple[int, ...]
) -> DataflowStep:
    return DataflowStep(
        name=f"layers.0.{kind}",
        node=f"layers.0.{kind}",
        stream=f"layers_0_{kind}",
        kind=kind,
        module=f"toy_{kind}",
        parallelism={"lanes": fields[0].lanes},
        interval=BEATS,
        fifo=fifo,
        beats=f"beats/{kind}.hex",
        width=sum(field.bits * field.lanes for field in fields),
        count=count,
        token_beats=token_beats,
        fields=fields,
    )


def _lanes(values: Any, bits: int) -> list[int]:
    mask = (1 << bits) - 1
    return [(high & mask) << bits | low & mask for low, high in values.tolist()]
