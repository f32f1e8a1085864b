"""Nested states as JSON and tensors beside it, and back: no pickle."""

from __future__ import annotations

from typing import Any

from torch import Tensor

__all__ = ["pack", "unpack"]


def pack(value: Any, tensors: dict[str, Tensor], path: str = "") -> Any:
    """What JSON can hold of a value; its tensors are put into ``tensors`` under their paths.

    Parameters
    ----------
    value : tensors, numbers, words and None, in dicts, lists and tuples of any depth
        Keys of a dict are numbers or words.
    tensors : dict of str to Tensor
        Gets contiguous copies on the CPU.
    path : str
        Where the value is in what holds it.

    Raises
    ------
    TypeError
        If there is something else in it.

    Examples
    --------
    >>> import torch
    >>> tensors = {}
    >>> packed = pack({"step": 3, 0: (torch.ones(2), None)}, tensors)
    >>> list(tensors), unpack(packed, tensors)
    (['0/0'], {'step': 3, 0: (tensor([1., 1.]), None)})
    """
    if isinstance(value, Tensor):
        # safetensors refuses tensors that share memory
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {"tensor": path}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        entries = [[key, pack(v, tensors, _below(path, key))] for key, v in value.items()]
        return {"items": entries}
    if isinstance(value, list | tuple):
        packed = [pack(v, tensors, _below(path, k)) for k, v in enumerate(value)]
        return packed if isinstance(value, list) else {"tuple": packed}
    raise TypeError(
        f"a checkpoint holds tensors, numbers and words, but {path} is a {type(value).__name__}"
    )


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """The value that :func:`pack` was given."""
    if isinstance(packed, list):
        return [unpack(entry, tensors) for entry in packed]
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return tensors[packed["tensor"]]
    if "tuple" in packed:
        return tuple(unpack(packed["tuple"], tensors))
    return {key: unpack(entry, tensors) for key, entry in packed["items"]}


def _below(path: str, key: object) -> str:
    return f"{path}/{key}" if path else str(key)
