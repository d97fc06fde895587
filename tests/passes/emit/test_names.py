"""Folder names: plain, unique, and never a way out of the folder."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mxhw.errors import InputError
from mxhw.passes.emit import folder_name


@given(st.text(min_size=1, max_size=200))
def test_every_name_becomes_one_plain_path_component(node: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", folder_name(node))


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_nodes_get_different_folders(a: str, b: str) -> None:
    assert (folder_name(a) == folder_name(b)) == (a == b)


def test_usual_names_stay_and_hostile_ones_do_not() -> None:
    assert folder_name("model.layers.0.self_attn.q_proj") == "model.layers.0.self_attn.q_proj"
    for hostile in ("..", "../../etc", ".hidden", "a/b", "a b", "$(rm)"):
        assert not folder_name(hostile).startswith(".")
        assert "/" not in folder_name(hostile)
    with pytest.raises(InputError, match="must have a name"):
        folder_name("")
