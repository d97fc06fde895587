"""Looking at a Hugging Face directory before anything is loaded from it.

Only safetensors are read: pickled weights and remote code can run anything. A file that was cut short is found by its
header, which tells the size that the whole file must have.
"""

import json
import struct
from pathlib import Path
from typing import Any

from mxhw.errors import InputError

__all__ = ["NATIVE_METHOD", "check_config", "check_directory", "check_safetensors", "weight_files"]

NATIVE_METHOD = "mxhw"  # quant_method of checkpoints that mxhw itself exports and reads
_HEADER_LIMIT = 100_000_000  # bytes; the limit of the safetensors library itself
_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_directory(folder: Path) -> dict[str, Any]:
    """Return the parsed config.json of a directory that may be loaded.

    Raises
    ------
    InputError
        If config.json is missing or broken, asks for remote code or holds weights that others quantized; if there are
        no safetensors; or if one of them is damaged.
    """
    config = check_config(folder / "config.json")
    for file in weight_files(folder):
        check_safetensors(file)
    return config


def check_config(file: Path) -> dict[str, Any]:
    """Return the parsed configuration `file` of a model that may be built; InputError if it may not, or is broken."""
    config = _read_json(file)
    tokenizer = file.parent / "tokenizer_config.json"
    for name, content in ((file, config), (tokenizer, _read_json(tokenizer, optional=True))):
        if content.get("auto_map"):
            raise InputError(f"{name} asks for code of its own (auto_map), which mxhw does not run")
    quantization = config.get("quantization_config")
    is_native = isinstance(quantization, dict) and quantization.get("quant_method") == NATIVE_METHOD
    if quantization and not is_native:
        raise InputError(f"{file} describes quantized weights; give the unquantized checkpoint")
    if not isinstance(config.get("model_type"), str):
        raise InputError(f"{file} has no model_type, so the architecture is unknown")
    return config


def check_safetensors(file: Path) -> None:
    """Raise an InputError if the safetensors `file` is missing, malformed or not as long as its header says."""
    if not file.is_file():
        raise InputError(f"weight file {file} is missing")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= _HEADER_LIMIT:
            raise InputError(f"weight file {file} is no safetensors file: {size} bytes, header of {length} bytes")
        if 8 + length > size:
            raise InputError(f"weight file {file} is truncated: expected at least {8 + length} bytes, found {size}")
        raw = stream.read(length)
    try:
        header = json.loads(raw)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        expected = 8 + length + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise InputError(f"weight file {file} has a header that is not safetensors") from None
    if size != expected:
        what = "truncated" if size < expected else "too long"
        raise InputError(f"weight file {file} is {what}: expected {expected} bytes, found {size}")


def weight_files(folder: Path) -> list[Path]:
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if (folder / _INDEX).is_file():
        names = _read_json(folder / _INDEX).get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(n, str) and n == Path(n).name for n in names.values()):
            raise InputError(f"{folder / _INDEX} has no weight_map of plain file names")
        return [folder / name for name in sorted(set(names.values()))]
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern) if not _is_vocabulary(file))
    if pickles:
        raise InputError(
            f"{folder} has only pickled weights ({pickles[0]}); mxhw reads safetensors only: convert them with "
            "save_pretrained(safe_serialization=True)"
        )
    raise InputError(f"{folder} has no {_SINGLE} and no {_INDEX}")


def _is_vocabulary(file: Path) -> bool:
    return file.name.startswith("tok")


def _read_json(file: Path, optional: bool = False) -> dict[str, Any]:
    if optional and not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file} is missing; a model directory holds config.json and safetensors") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{file} must hold a JSON object")
    return content
