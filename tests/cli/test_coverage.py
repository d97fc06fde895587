"""`mxhw capture` says what is not in the dialect."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.ir.zoo import captured, eager_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bloom")
    eager_model("bloom").save_pretrained(folder)
    return folder


def test_operators_without_a_kind_are_reported(mxhw_command: Callable[..., Ran], checkpoint: Path) -> None:
    found = mxhw_command("capture", checkpoint, "--sequence", 16, "--json").json
    assert found["uncovered"]["operators"] == {"aten.pow.Tensor_Tensor": 1, "aten.where.ScalarOther": 1}
    assert found["uncovered"]["mac_share"] == 0.0
    assert found["macs"] == captured("bloom").macs(1, 16)
    said = mxhw_command("capture", checkpoint, "--sequence", 16)
    assert "2 operations are not in the dialect" in " ".join((said.out + said.err).split())
