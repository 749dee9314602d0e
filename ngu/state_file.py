"""A nested state in one file that is either whole or known to be damaged; loading runs nothing.

Layout: safetensors (https://huggingface.co/docs/safetensors), so that any reader of that format can
look inside. The arrays of a nested state are its tensors; what is left of the state, numbers,
strings and how they nest, is JSON in its metadata. Two checksums, of the header and of the data,
find truncated and flipped bytes. Files are streamed in both directions without copying an array, so
that a replay of gigabytes is saved and loaded within its own memory.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from ngu.durable import replacing

_FORMAT = "ngu-state-1"
_CHUNK = 1 << 20
# The checksums stand first and with a fixed width, so that they can be filled in after streaming.
_HEAD = '{{"__metadata__":{{"header_crc32":"{:08x}","data_crc32":"{:08x}",'
_HEAD_PATTERN = re.compile(
    rb'\{"__metadata__":\{"header_crc32":"([0-9a-f]{8})","data_crc32":"([0-9a-f]{8})",'
)
# Safetensors has no complex numbers: they are stored as pairs of reals.
_PAIRS = {"complex64": "float32", "complex128": "float64"}
_CODES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}


class DamagedCheckpoint(RuntimeError):  # noqa: N818  # named for what was found
    """A checkpoint that cannot be trusted; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class _Entry:
    """One array of the file: its name, element type, shape and where its bytes come from."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    source: np.ndarray | torch.Tensor

    @property
    def itemsize(self) -> int:
        return self.source.itemsize

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.itemsize

    def header(self, begin: int) -> dict[str, Any]:
        """The entry as safetensors describes it, its bytes starting at ``begin``."""
        pair = self.dtype in _PAIRS
        return {
            "dtype": _CODES[_PAIRS.get(self.dtype, self.dtype)],
            "shape": [*self.shape, 2] if pair else list(self.shape),
            "data_offsets": [begin, begin + self.nbytes],
        }


def save_tree(path: str | os.PathLike[str], tree: object) -> None:
    """Writes a nested state to one file, all of it or nothing.

    The bytes go to a temporary file beside ``path``, are forced to the disk, and only then take the
    place of what was there. Whatever goes wrong, the temporary file is removed, the old file stays,
    and the error is raised.

    Args:
        path: The file to write, or to replace.
        tree: Dicts (keys: str or int), lists and tuples, nested, of torch tensors, numpy arrays and
            numbers, ints, floats, bools, strings, bytes and None. Subclasses of dict, list and
            tuple are written as these; tensors on any device, without their gradients.

    Raises:
        TypeError: The tree holds something else; the message says where. Nothing is written.
        OSError: The file cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    entries: dict[str, _Entry] = {}
    structure = _describe(tree, "", entries)
    # Wide elements first: every array then starts at a multiple of its element's size.
    ordered = sorted(entries.values(), key=lambda entry: -entry.itemsize)
    tensors, begin = {}, 0
    for entry in ordered:
        tensors[entry.name] = entry.header(begin)
        begin += entry.nbytes
    metadata = {"format": _FORMAT, "structure": json.dumps(structure, allow_nan=False)}
    rest = json.dumps(metadata)[1:] + "".join(
        f",{json.dumps(name)}:{json.dumps(tensor)}" for name, tensor in tensors.items()
    )
    with replacing(path) as file:
        _write(file, f"{rest}}}", ordered)


def load_tree(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> Any:
    """Reads a state that `save_tree` wrote; executes nothing of it.

    Args:
        path: The file.
        device: Where torch tensors go; numpy arrays stay numpy arrays.

    Returns:
        The tree, of the same types, with exactly the same numbers. Each array owns its memory.

    Raises:
        DamagedCheckpoint: The file is truncated, altered, or no checkpoint of this library.
        OSError: The file cannot be read (FileNotFoundError if there is none).
    """
    path = Path(path)
    with path.open("rb", buffering=0) as file:
        header, data_crc, available = _read_header(path, file)
        try:
            structure = json.loads(header["__metadata__"].pop("structure"))
            tensors = {name: spec for name, spec in header.items() if name != "__metadata__"}
            leaves = {leaf["name"]: leaf for leaf in _leaves(structure)}
            arrays: dict[str, np.ndarray | torch.Tensor] = {}
            crc, position = 0, 0
            for name, spec in tensors.items():
                begin, end = spec["data_offsets"]
                array = _empty(leaves[name], spec["shape"])
                if begin != position or end - begin != array.nbytes:
                    raise DamagedCheckpoint(f"{path}: the place of {name!r} is inconsistent")
                crc, position = _read_into(path, file, array, crc), end
                if isinstance(array, torch.Tensor):
                    array = array.to(device)
                arrays[name] = array
            if position != available or crc != data_crc:
                raise DamagedCheckpoint(f"{path}: the data does not match its checksum")
            return _rebuild(structure, arrays)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise DamagedCheckpoint(f"{path}: its structure cannot be read ({error!r})") from error


def _describe(node: object, where: str, entries: dict[str, _Entry]) -> Any:
    """Turns a tree into JSON, collecting its arrays in ``entries`` by a name made of their keys."""
    if node is None or type(node) in (bool, str):
        return node
    if type(node) is int:
        return node if node.bit_length() < 64 else {"kind": "int", "value": hex(node)}
    if type(node) is float:
        return node if math.isfinite(node) else {"kind": "float", "value": repr(node)}
    if isinstance(node, dict):
        items = [
            [_key(key, where), _describe(value, f"{where}/{key}", entries)]
            for key, value in node.items()
        ]
        return {"kind": "dict", "items": items}
    if isinstance(node, list | tuple):
        items = [_describe(value, f"{where}/{i}", entries) for i, value in enumerate(node)]
        return items if isinstance(node, list) else {"kind": "tuple", "items": items}
    if isinstance(node, torch.Tensor):
        return _leaf("tensor", node, str(node.dtype).removeprefix("torch."), where, entries)
    if isinstance(node, np.ndarray):
        return _leaf("array", node, node.dtype.name, where, entries)
    if isinstance(node, np.generic):
        return _leaf("scalar", np.asarray(node), node.dtype.name, where, entries)
    if type(node) is bytes:
        return _leaf("bytes", np.frombuffer(node, np.uint8), "uint8", where, entries)
    raise TypeError(
        f"the state's {where[1:] or 'root'!r} is of type {type(node).__qualname__}, expected "
        "a tensor, array, number, bool, string, bytes, None, or a dict, list or tuple of these"
    )


def _key(key: object, where: str) -> object:
    if type(key) in (str, int):
        return key
    raise TypeError(f"the state's {where[1:] or 'root'!r} has the key {key!r}, expected str or int")


def _leaf(
    kind: str,
    array: np.ndarray | torch.Tensor,
    dtype: str,
    where: str,
    entries: dict[str, _Entry],
) -> dict[str, str]:
    dense = isinstance(array, np.ndarray) or (
        array.layout == torch.strided and array.device.type != "meta"
    )
    if _PAIRS.get(dtype, dtype) not in _CODES or not dense:
        raise TypeError(
            f"the state's {where[1:] or 'root'!r} is a {kind} of {array.dtype}, expected one that "
            "is dense, of booleans or numbers of 8 to 64 bits"
        )
    stem = name = where[1:] or "root"
    number = 1
    while name in entries or name == "__metadata__":
        number += 1
        name = f"{stem}~{number}"
    entries[name] = _Entry(name, dtype, tuple(array.shape), array)
    return {"kind": kind, "name": name, "dtype": dtype}


def _leaves(node: Any) -> Iterator[dict[str, str]]:
    if isinstance(node, list):
        for value in node:
            yield from _leaves(value)
    elif isinstance(node, dict) and "name" in node:
        yield node
    elif isinstance(node, dict):
        yield from _leaves(node.get("items", []))


def _rebuild(node: Any, arrays: dict[str, np.ndarray | torch.Tensor]) -> Any:
    if isinstance(node, list):
        return [_rebuild(value, arrays) for value in node]
    if not isinstance(node, dict):
        return node
    match node["kind"]:
        case "int":
            return int(node["value"], 16)
        case "float":
            return float(node["value"])
        case "dict":
            return {key: _rebuild(value, arrays) for key, value in node["items"]}
        case "tuple":
            return tuple(_rebuild(value, arrays) for value in node["items"])
        case "scalar":
            return arrays[node["name"]][()]
        case "bytes":
            return np.asarray(arrays[node["name"]]).tobytes()
        case "tensor" | "array":
            return arrays[node["name"]]
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _bytes_of(array: np.ndarray | torch.Tensor) -> memoryview:
    """An array's bytes in C order, without a copy where it lies so in the CPU's memory already."""
    flat: Any
    if isinstance(array, torch.Tensor):
        dense = array.detach().cpu().resolve_conj().resolve_neg().contiguous()
        flat = dense.reshape(-1).view(torch.uint8).numpy()
    else:
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        flat = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
    return memoryview(flat)


def _empty(leaf: dict[str, str], shape: list[int]) -> np.ndarray | torch.Tensor:
    shape = shape[:-1] if leaf["dtype"] in _PAIRS else shape
    if leaf["kind"] == "tensor":
        return torch.empty(shape, dtype=getattr(torch, leaf["dtype"]))
    return np.empty(shape, dtype=np.dtype(leaf["dtype"]).newbyteorder("<"))


def _write(file: BinaryIO, rest: str, entries: list[_Entry]) -> None:
    """Streams the header and the arrays, then goes back to fill in the checksums."""
    header = _HEAD.format(0, 0) + rest
    header += " " * (-len(header) % 8)
    size = len(header).to_bytes(8, "little")
    file.write(size + header.encode())
    data_crc = 0
    for entry in entries:
        flat = _bytes_of(entry.source)
        for i in range(0, len(flat), _CHUNK):
            chunk = flat[i : i + _CHUNK]
            data_crc = zlib.crc32(chunk, data_crc)
            file.write(chunk)
    head = _HEAD.format(0, data_crc)
    header_crc = zlib.crc32(size + head.encode() + header[len(head) :].encode())
    file.seek(8)
    file.write(_HEAD.format(header_crc, data_crc).encode())


def _read_header(path: Path, file: FileIO) -> tuple[dict[str, Any], int, int]:
    """Returns the header once its checksum is right, the data's checksum, and the data's bytes."""
    total = os.fstat(file.fileno()).st_size
    size = file.read(8)
    length = int.from_bytes(size, "little")
    if len(size) < 8 or length > total - 8:
        raise DamagedCheckpoint(f"{path}: truncated, or no checkpoint ({total} bytes)")
    header = file.read(length)
    match = _HEAD_PATTERN.match(header)
    if match is None:
        raise DamagedCheckpoint(f"{path}: no checkpoint of this library")
    data_crc = int(match[2], 16)
    unsigned = size + _HEAD.format(0, data_crc).encode() + header[match.end() :]
    if zlib.crc32(unsigned) != int(match[1], 16):
        raise DamagedCheckpoint(f"{path}: the header does not match its checksum")
    decoded = json.loads(header)
    found = decoded["__metadata__"].get("format")
    if found != _FORMAT:
        raise DamagedCheckpoint(f"{path}: written in the format {found!r}, expected {_FORMAT!r}")
    available = total - 8 - length
    ends = [spec["data_offsets"][1] for name, spec in decoded.items() if name != "__metadata__"]
    expected = max(ends, default=0)
    if expected != available:
        raise DamagedCheckpoint(f"{path}: holds {available} bytes of data, expected {expected}")
    return decoded, data_crc, available


def _read_into(path: Path, file: FileIO, array: np.ndarray | torch.Tensor, crc: int) -> int:
    """Fills an array from the file; returns the checksum carried on."""
    flat = _bytes_of(array)
    position = 0
    while position < len(flat):
        chunk = flat[position : position + _CHUNK]
        count = file.readinto(chunk)
        if not count:
            raise DamagedCheckpoint(f"{path}: ended while it was read")
        crc = zlib.crc32(chunk[:count], crc)
        position += count
    return crc
