"""An ONNX file's bytes, as far as scoring needs to look into them without the onnx package.

Conventions
-----------
An ONNX file is one protobuf message, ``ModelProto``. Its field 14, ``metadata_props``, repeats
``StringStringEntryProto`` messages: field 1 the key, field 2 the value (onnx.proto).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

__all__ = ["metadata", "sha256_without_metadata", "size_without_metadata"]

_METADATA_PROPS = 14


def metadata(data: bytes | memoryview) -> dict[bytes, bytes]:
    """Return the file's metadata entries.

    Raises
    ------
    ValueError
        `data` is not a protobuf message, or is cut short.
    """
    entries: dict[bytes, bytes] = {}
    view = memoryview(data)
    for field, _, body, end in _fields(view):
        if field == _METADATA_PROPS:
            pair = view[body:end]
            values = {number: bytes(pair[start:stop]) for number, _, start, stop in _fields(pair)}
            entries[values.get(1, b"")] = values.get(2, b"")
    return entries


def sha256_without_metadata(data: bytes | memoryview) -> str:
    """Return the SHA-256 over every top-level field but the metadata, in file order, as 64 hex digits.

    Raises
    ------
    ValueError
        `data` is not a protobuf message, or is cut short.
    """
    digest = hashlib.sha256()
    view = memoryview(data)
    for field, start, _, end in _fields(view):
        if field != _METADATA_PROPS:
            digest.update(view[start:end])
    return digest.hexdigest()


def size_without_metadata(data: bytes | memoryview) -> int:
    """Return the number of bytes that `sha256_without_metadata` covers.

    Raises
    ------
    ValueError
        `data` is not a protobuf message, or is cut short.
    """
    return sum(end - start for field, start, _, end in _fields(memoryview(data)) if field != _METADATA_PROPS)


def _fields(view: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield (field number, start, start of its body, end) of each field of a message."""
    position = 0
    while position < len(view):
        start = position
        key, position = _varint(view, position)
        wire_type = key & 7
        body = position
        if wire_type == 0:
            _, position = _varint(view, position)
        elif wire_type == 1:
            position += 8
        elif wire_type == 2:
            length, body = _varint(view, position)
            position = body + length
        elif wire_type == 5:
            position += 4
        else:
            raise ValueError("it is not an ONNX file")
        if position > len(view) or key >> 3 == 0:
            raise ValueError("it is not an ONNX file, or it is cut short")
        yield key >> 3, start, body, position


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return a base-128 number and the position after it."""
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(view):
            break
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("it is not an ONNX file, or it is cut short")
