"""Reads the metadata of a GGUF model file, without loading the model."""

import math
import struct
from pathlib import Path
from typing import Any, BinaryIO

# The format's type numbers; the scalar ones with their letters in ``struct``.
SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
STRING = 8
ARRAY = 9


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the file's metadata, with arrays as None and ``general.parameter_count`` added.

    That is ``model_info`` in the answer of Ollama's ``/api/show``. The ggml project's
    ``docs/gguf.md`` describes the format. Raises ValueError for any other file.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file")
        _version, tensors, pairs = _unpack(file, "IQQ")
        metadata = {_string(file): _value(file, *_unpack(file, "I")) for _ in range(pairs)}
        metadata["general.parameter_count"] = sum(_tensor_size(file) for _ in range(tensors))
    return metadata


def _unpack(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "Q")
    return file.read(length).decode()


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _string(file)
    if kind != ARRAY:
        return _unpack(file, SCALARS[kind])[0]
    item_kind, length = _unpack(file, "IQ")
    for _ in range(length):
        _value(file, item_kind)
    return None


def _tensor_size(file: BinaryIO) -> int:
    """Skip one tensor's description and return how many parameters the tensor has."""
    _string(file)
    (dimensions,) = _unpack(file, "I")
    shape = _unpack(file, f"{dimensions}Q")
    _kind, _offset = _unpack(file, "IQ")
    return math.prod(shape)
