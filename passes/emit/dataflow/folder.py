"""The folder of a design: written beside its place and put there whole, never over something else."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from mxhw.errors import InputError
from mxhw.files import new_folder
from mxhw.sim.clocks import IMPLEMENTATION_FILE, read_implementations
from mxhw.sim.dataflow_design import DataflowDesign, is_dataflow_design
from mxhw.sim.design import DESIGN_FILE

__all__ = ["Writer", "check_folder", "design_folder"]


class Writer:
    """Writes the files of a design, and knows the hash of those that decide what it does.

    Stimulus and expected beats are not among them: the same design with other tokens has the same hash.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._hashes: dict[str, str] = {}

    def write(self, path: str, text: str) -> None:
        """Write a file that is part of the design."""
        self.note(path, text)
        self.write_beside(path, text)

    def note(self, path: str, text: str) -> None:
        """Let a text count for the hash that is not written as it is."""
        self._hashes[path] = sha256(text.encode()).hexdigest()

    def write_beside(self, path: str, text: str) -> None:
        """Write a file that does not count for the hash."""
        self.write_binary(path, text.encode())

    def write_binary(self, path: str, content: bytes) -> None:
        """Write a file of any kind that does not count for the hash."""
        file = self._place / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    @property
    def digest(self) -> str:
        """SHA-256 of all parts."""
        return sha256(json.dumps(self._hashes, sort_keys=True).encode()).hexdigest()


@contextmanager
def design_folder(folder: Path, *, force: bool) -> Iterator[Writer]:
    """Give a writer; what it wrote takes the place of ``folder`` when the block ends well.

    The block must have written design.json. An older emission of the same design is replaced, but for what is known of
    its clock and resources; another design only with ``force``; anything else never.

    Raises
    ------
    InputError
        If the folder holds something else, or cannot be written; nothing is changed then.
    """
    check_folder(folder)
    try:
        with new_folder(folder) as place:
            yield Writer(place)
            _check_same(folder, place, force)
            _keep_figures(folder, place)
    except OSError as error:
        raise InputError(f"cannot write the design to {folder}: {error.strerror}") from error


def check_folder(folder: Path) -> None:
    """Raise InputError if the folder holds something that is no dataflow design."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, so that no design can be written there; choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not is_dataflow_design(folder):
        raise InputError(
            f"the folder {folder} holds something that is no dataflow design, and is left as it is; choose another "
            "folder, or remove what is there"
        )


def _keep_figures(folder: Path, made: Path) -> None:
    """Take what synthesis has found of the same design along."""
    figures = folder / IMPLEMENTATION_FILE
    try:
        if read_implementations(folder, DataflowDesign.load(made)):
            shutil.copy(figures, made)
    except InputError:
        return  # damaged: it tells nothing of the design


def _check_same(folder: Path, made: Path, force: bool) -> None:
    if force or not is_dataflow_design(folder):
        return
    new = DataflowDesign.load(made)
    there = json.loads((folder / DESIGN_FILE).read_text(encoding="utf-8"))
    if there.get("hash") != new.hash:
        name = there.get("name", "without a name")
        raise InputError(
            f"the folder {folder} holds another design ({name}, configuration {str(there.get('hash'))[:16]}; the new "
            f"one is {new.name}, {new.hash[:16]}); use --force (force=True) to replace it, or choose another folder"
        )
