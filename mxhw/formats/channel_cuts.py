"""Some output channels of an encoded weight, as they are in the whole one: what a reader of a part of a layer needs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor

from mxhw.formats.base import Encoded, Format
from mxhw.formats.channels import ChannelGroups, runs_of

__all__ = ["cut_channels"]


def cut_channels(fmt: Format, encoded: Encoded, channels: Sequence[int]) -> tuple[Format, Encoded]:
    """Return some channels of a matrix [outputs, inputs] that is encoded along its inputs, and their format.

    Codes stay those of the whole. The format is one for all if the chosen channels are all in it.
    """
    parts, starts = runs_of(fmt, encoded), [0]
    for _, part in parts:
        starts.append(starts[-1] + part.shape[0])
    run_of = [next(i for i in range(len(parts)) if starts[i + 1] > channel) for channel in channels]
    chosen: list[tuple[Format, Encoded]] = []
    for index, places in groupby(range(len(run_of)), key=run_of.__getitem__):
        own, part = parts[index]
        cut = _rows(part, torch.tensor([channels[place] - starts[index] for place in places]))
        if chosen and chosen[-1][0] == own:
            cut = _stacked(chosen.pop()[1], cut)
        chosen.append((own, cut))
    if len(chosen) == 1:
        return chosen[0]
    made = ChannelGroups(tuple((own, part.shape[0]) for own, part in chosen))
    shape = (len(channels), *encoded.shape[1:])
    return made, made.joined([part for _, part in chosen], shape, encoded.axis, encoded.dtype)


def _rows(encoded: Encoded, rows: Tensor) -> Encoded:
    return replace(
        encoded,
        codes=encoded.codes[rows],
        scales=encoded.scales[rows],
        metadata={name: values[rows] for name, values in encoded.metadata.items()},
        shape=torch.Size((len(rows), *encoded.shape[1:])),
    )


def _stacked(first: Encoded, second: Encoded) -> Encoded:
    return replace(
        first,
        codes=torch.cat((first.codes, second.codes)),
        scales=torch.cat((first.scales, second.scales)),
        metadata={name: torch.cat((values, second.metadata[name])) for name, values in first.metadata.items()},
        shape=torch.Size((first.shape[0] + second.shape[0], *first.shape[1:])),
    )
