"""Memory images: what the read-only memories of a step hold, as text for $readmemh, one word a line."""

from collections.abc import Iterator

from mxhw.errors import InputError
from mxhw.passes.emit.dataflow.beats import Field, hex_lines, pack_fields
from mxhw.passes.emit.dataflow.place import Placed
from mxhw.rtl_templates.emission import MemoryFile, memory_files

__all__ = ["image_path", "step_images"]

FOLDER = "images"


def image_path(stream: str, file: str) -> str:
    """Return where the image of a step's memory file lies in the design's folder."""
    return f"{FOLDER}/{stream}.{file}"


def step_images(placed: Placed) -> Iterator[tuple[str, int, str]]:
    """Yield memory file, number of words and text of each image of a step's component.

    The component knows the words of small memories (tables, constants of channels); large weights come as fields, in
    the bit patterns that their format stores, and are packed without a loop over them.

    Raises
    ------
    InputError
        If nothing says what a memory holds, or the words do not fit it.
    """
    fields = placed.fields()
    memories = memory_files(placed.component)
    for file in fields.keys() - memories.keys():
        raise InputError(f"module {placed.module} has no memory that reads {file}")
    for file, memory in sorted(memories.items()):
        if file in fields:
            values, bits = fields[file]
            if values.shape[0] != memory.depth or values.shape[1] * bits != memory.width:
                raise InputError(
                    f"{file} of module {placed.module} must have {memory.depth} words of {memory.width} bits, not "
                    f"{values.shape[0]} of {values.shape[1] * bits}"
                )
            yield file, memory.depth, hex_lines(pack_fields([Field(values, bits)]), memory.width)
        elif memory.words:
            yield file, memory.depth, _known(memory)
        else:
            raise InputError(f"nothing says what the memory of module {placed.module} that reads {file} holds")


def _known(memory: MemoryFile) -> str:
    digits = -(-memory.width // 4)
    words = [*memory.words, *[0] * (memory.depth - len(memory.words))]
    return "".join(f"{word:0{digits}x}\n" for word in words)
