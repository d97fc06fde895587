"""Layouts by themselves: joining and restoring invert splitting, a tile holds what it says, chunks cover them all."""

import pytest
import torch

from mxhw.errors import InputError
from mxhw.formats.layout import BlockLayout, TileLayout

SHAPES = [((40,), 0), ((5, 70), 1), ((5, 70), 0), ((2, 3, 17, 33), 3), ((2, 3, 17, 33), 2), ((1, 1), 0), ((8, 32), 1)]
TILES = [(2, 16), (4, 8), (3, 5), (16, 1)]


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("block", [1, 16, 32, None])
def test_blocks_are_joined_and_restored_to_what_was_split(shape, axis, block):
    x = torch.randn(shape)
    layout = BlockLayout.of(x.shape, axis, block)
    blocks = layout.split(x)
    assert blocks.shape == (layout.outer, layout.inner, layout.blocks, layout.block)
    assert torch.equal(layout.join(blocks), x)
    encoded = blocks.reshape(*layout.lead, layout.blocks, layout.block)
    assert torch.equal(layout.restore(encoded), x)
    assert blocks.numel() == layout.count("element") and x.numel() == int((blocks != 0).sum())
    assert (blocks.data_ptr() == x.data_ptr()) == layout.is_exact


@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize(("rows", "columns"), TILES)
def test_tiles_are_joined_and_restored_to_what_was_split(shape, axis, rows, columns):
    x = torch.randn(shape)
    layout = TileLayout.over(x.shape, axis, rows, columns)
    tiles = layout.split(x)
    assert tiles.shape == (layout.outer, 1, layout.blocks, rows * columns)
    assert torch.equal(layout.join(tiles), x)
    encoded = tiles.reshape(*layout.lead, layout.blocks, layout.block)
    assert torch.equal(layout.restore(encoded), x)
    assert tiles.numel() == layout.count("element") and x.numel() == int((tiles != 0).sum())
    assert layout.count("block") == tiles.shape[0] * tiles.shape[2]
    wrong = tiles.flip(-1) if rows * columns > 1 else tiles + 1
    assert x.numel() == 1 or not torch.equal(layout.join(wrong), x)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("rows", "columns"), TILES)
def test_every_tile_is_the_rectangle_that_it_stands_for(rows, columns, axis):
    x = torch.randn(19, 34)
    tiles = TileLayout.over(x.shape, axis, rows, columns).split(x)
    vectors = x.movedim(axis, -1)
    for i in range(tiles.shape[0]):
        for j in range(tiles.shape[2]):
            rectangle = vectors[i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            tile = tiles[i, 0, j].view(rows, columns)
            assert torch.equal(tile[: rectangle.shape[0], : rectangle.shape[1]], rectangle)
            assert int((tile != 0).sum()) == rectangle.numel()


def test_tiles_of_one_vector_are_blocks():
    x = torch.randn(3, 7, 50)
    tiles, blocks = TileLayout.over(x.shape, 2, 1, 16), BlockLayout.of(x.shape, 2, 16)
    assert tiles.lead == blocks.lead
    assert torch.equal(tiles.split(x).flatten(), blocks.split(x).flatten())
    assert all(tiles.count(per) == blocks.count(per) for per in ("element", "block", "row", "tensor"))


@pytest.mark.parametrize("axis", [1, 2])
def test_chunks_cover_every_tile_once(axis, monkeypatch):
    monkeypatch.setattr("mxhw.formats.layout.CHUNK_ELEMENTS", 300)
    layout = TileLayout.over(torch.Size([4, 37, 61]), axis, 4, 8)
    for chunks in (layout.chunks(whole_rows=False), layout.chunks(whole_rows=True), layout.chunks_along_outer()):
        seen = torch.zeros(layout.outer, layout.inner, layout.blocks, dtype=torch.uint8)
        for index in chunks:
            seen[index] += 1
        assert seen.unique().tolist() == [1]


def test_tiles_lie_in_the_last_two_dimensions():
    with pytest.raises(InputError, match=r"2x4 lie in the last two dimensions: axis 1 of \(2, 3, 4, 5\) is none"):
        TileLayout.over(torch.Size([2, 3, 4, 5]), 1, 2, 4)
