"""Attributes of an HDF5 file, texts among them without libhdf5.

Texts of variable length lie in a heap elsewhere in the file. A heap with an object of no size
makes libhdf5 (2.0) step on the spot for ever, and a damaged type of a text ends the process; no
call of Python can prevent either. So texts are followed here, in the bytes of the file: object
header, attribute message, heap (HDF5 File Format Specification 3.0, IV.A and III.E).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py

__all__ = ["read_attributes"]

_ATTRIBUTE, _CONTINUATION = 0x0C, 0x10
_TEXT = 0x19  # first byte of a datatype: version 1, class 9 (variable length); then kind 1, a text
_MAX_BLOCKS, _MAX_BYTES = 1000, 1 << 24


def read_attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    """Attributes of the root group; those that are neither numbers nor texts are left out.

    So are texts in "dense" storage, which files of libver="latest" use beyond eight attributes.

    Raises
    ------
    Exception
        Whatever damaged bytes lead to; for use within ``damaged``.
    """
    found: dict[str, Any] = {}
    texts: dict[str, str] | None = None
    for name in file.attrs:
        if not isinstance(name, str):  # bytes that are no text
            continue
        kind = file.attrs.get_id(name).get_type()
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            if texts is None:
                texts = _texts(path, h5py.h5o.get_info(file.id).addr)
            if name in texts:
                found[name] = texts[name]
        elif isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID | h5py.h5t.TypeEnumID):
            found[name] = file.attrs[name]
    return found


def _texts(path: Path, address: int) -> dict[str, str]:
    with path.open("rb") as file:
        messages = (m for kind, m in _messages(file, address) if kind == _ATTRIBUTE)
        named = dict(filter(None, map(_reference, messages)))
        return {name: _text(file, at) for name, at in named.items()}


def _at(file: IO[bytes], address: int, size: int) -> bytes:
    if size > _MAX_BYTES:
        raise ValueError(f"{size} bytes at byte {address} are too many")
    file.seek(address)
    content = file.read(size)
    if len(content) < size:
        raise ValueError(f"{size} bytes at byte {address} go beyond the end")
    return content


def _number(content: bytes, start: int, size: int) -> int:
    return int.from_bytes(content[start : start + size], "little")


def _messages(file: IO[bytes], address: int) -> Iterator[tuple[int, bytes]]:
    """Type and content of the messages of an object header, version 1 or 2."""
    head = _at(file, address, 12)
    is_new = head.startswith(b"OHDR")
    flags = head[5] if is_new else 0
    if is_new:
        start = address + 6 + 16 * (flags >> 5 & 1) + 4 * (flags >> 4 & 1)
        width = 1 << (flags & 3)
        blocks = [(start + width, _number(_at(file, start, width), 0, width))]
    else:
        blocks = [(address + 16, _number(head, 8, 4))]
    for n_blocks, (start, size) in enumerate(blocks):
        if n_blocks > _MAX_BLOCKS:
            raise ValueError("its object header does not come to an end")
        for kind, content in _in_block(_at(file, start, size), is_new, flags):
            yield kind, content
            if kind == _CONTINUATION:
                at, length = _number(content, 0, 8), _number(content, 8, 8)
                # the newer blocks have a signature before and a checksum behind
                blocks.append((at + 4, length - 8) if is_new else (at, length))


def _in_block(block: bytes, is_new: bool, flags: int) -> Iterator[tuple[int, bytes]]:
    type_bytes = 1 if is_new else 2
    head = 4 + 2 * (flags >> 2 & 1) if is_new else 8
    at = 0
    while at + head <= len(block):
        size = _number(block, at + type_bytes, 2)
        yield _number(block, at, type_bytes), block[at + head : at + head + size]
        at += head + size


def _reference(message: bytes) -> tuple[str, tuple[int, int, int]] | None:
    """Name of an attribute with (bytes, heap, object) of its one text; None for others."""
    version = message[0]
    sizes = [_number(message, at, 2) for at in (2, 4, 6)]
    step = 8 if version == 1 else 1  # version 1 pads its parts
    start = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        parts.append(message[start : start + size])
        start += -(-size // step) * step
    name, kind, space = parts
    if kind[0] & 0x1F != _TEXT or kind[1] & 0x0F != 1 or space[1] != 0:
        return None
    reference = (_number(message, start, 4), _number(message, start + 4, 8))
    return name.rstrip(b"\0").decode(errors="replace"), (
        *reference,
        _number(message, start + 12, 4),
    )


def _text(file: IO[bytes], reference: tuple[int, int, int]) -> str:
    n_bytes, address, wanted = reference
    header = _at(file, address, 16)
    if not header.startswith(b"GCOL\x01"):
        raise ValueError(f"no heap of texts at byte {address}")
    at, end = address + 16, address + _number(header, 8, 8)
    while at + 16 <= end:
        head = _at(file, at, 16)
        index, size = _number(head, 0, 2), _number(head, 8, 8)
        if index == wanted and n_bytes <= size:
            return _at(file, at + 16, n_bytes).rstrip(b"\0").decode()
        if index == 0:
            break  # the free space, which is the last
        at += 16 + -(-size // 8) * 8
    raise ValueError(f"the heap at byte {address} has no text {wanted} of {n_bytes} bytes")
