"""A surrogate's folder on disk: one JSON file and one safetensors file, no pickle.

``surrogate.json`` holds the SHA-256 of ``weights.safetensors`` and of its own content, so that a
file that was altered or left from another training is noticed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import platform
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from physgen.files.atomic import atomic_directory, check_writable
from physgen.files.checks import printable
from physgen.models import FAMILIES, settings_to_dict
from physgen.models import settings_from_dict as known_settings_from_dict
from physgen.models.base import ModelSettings

__all__ = [
    "SurrogateFileError",
    "check_target",
    "read_folder",
    "versions",
    "write_folder",
]

FORMAT_VERSION = 1
_MAX_REASON = 500
_FREE_NUMBERS = 4_000_000
DESCRIPTION = "surrogate.json"
WEIGHTS = "weights.safetensors"


class SurrogateFileError(ValueError):
    """A surrogate folder is damaged, altered, or of a newer format."""


def versions() -> dict[str, str]:
    """Versions of what a surrogate was made with."""
    import physgen

    return {
        "physgen": physgen.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def check_target(path: Path) -> None:
    """Raise now if a surrogate cannot be written there, rather than after its training.

    Raises
    ------
    FileExistsError, OSError
        If something else has that name, or its folder takes no files.
    """
    if path.exists() and not _is_ours(path):
        raise FileExistsError(
            f"cannot write the surrogate to {path}: it exists and is not a surrogate folder; "
            "choose another name"
        )
    check_writable(path)


def write_folder(
    path: Path, description: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write both files into a new folder that takes the place of an old surrogate."""
    check_target(path)
    # clones: safetensors refuses tensors that share memory (tied layers)
    weights = save_tensors({n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()})
    content = _strict({**description, "weights_sha256": hashlib.sha256(weights).hexdigest()})
    document = {
        "physgen_surrogate": FORMAT_VERSION,
        "content_sha256": _digest(content),
        **content,
    }
    with atomic_directory(path) as folder:
        (folder / WEIGHTS).write_bytes(weights)
        (folder / DESCRIPTION).write_text(json.dumps(document, indent=1, allow_nan=False))


def read_folder(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read and check both files."""
    document = _read_description(path)
    weights = _read_file(path, WEIGHTS).read_bytes()
    if hashlib.sha256(weights).hexdigest() != document.get("weights_sha256"):
        raise SurrogateFileError(
            f"{path / WEIGHTS} is not the file that {DESCRIPTION} was written with (its SHA-256 "
            "differs): it is damaged, altered or from another training; restore the folder from a "
            "copy or train again"
        )
    try:
        return document, load_tensors(weights)
    except SafetensorError as error:
        raise SurrogateFileError(f"{path / WEIGHTS} is damaged: {_said(error)}") from error


def _read_description(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileNotFoundError(f"there is no surrogate folder {path}")
    try:
        document = json.loads(_read_file(path, DESCRIPTION).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SurrogateFileError(f"{path / DESCRIPTION} is damaged: {_said(error)}") from error
    version = document.get("physgen_surrogate") if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise SurrogateFileError(f"{path / DESCRIPTION} does not describe a physgen surrogate")
    if version > FORMAT_VERSION:
        with explained(path):
            made_with = document.get("info", {}).get("versions", {}).get("physgen", "a newer one")
        raise SurrogateFileError(
            f"{path} has format version {version}, but this physgen reads up to "
            f"{FORMAT_VERSION}; it was made with physgen {printable(str(made_with))}: upgrade "
            "physgen"
        )
    content = {
        k: v for k, v in document.items() if k not in ("physgen_surrogate", "content_sha256")
    }
    with explained(path):
        digest = _digest(content)
    if digest != document.get("content_sha256"):
        raise SurrogateFileError(
            f"{path / DESCRIPTION} was altered after it was written (its SHA-256 differs); "
            "restore the folder from a copy or train again"
        )
    return document


def _strict(value: Any) -> Any:
    """The value with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_file(path: Path, name: str) -> Path:
    if not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a surrogate is a folder with {DESCRIPTION}")
    if not (path / name).is_file():
        raise FileNotFoundError(
            f"{path} has no {name}; a surrogate folder holds {DESCRIPTION} and {WEIGHTS}"
        )
    return path / name


def _is_ours(path: Path) -> bool:
    return path.is_dir() and {p.name for p in path.iterdir()} <= {DESCRIPTION, WEIGHTS}


def _digest(content: Mapping[str, Any]) -> str:
    # through JSON once, so that tuples and lists, ints and floats hash as they are read back
    return hashlib.sha256(
        json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode()
    ).hexdigest()


def model_to_dict(settings: ModelSettings | None, model: nn.Module | None) -> dict[str, Any]:
    """Description of the model: its settings, or the class name of a user's own model."""
    if type(settings) not in FAMILIES.values():
        kind = type(settings or model)
        return {"own_class": f"{kind.__module__}.{kind.__qualname__}"}
    return settings_to_dict(settings)  # type: ignore[arg-type]  # not None: a family of ours


def settings_from_dict(stored: Mapping[str, Any], model: nn.Module | None) -> ModelSettings | None:
    """Settings of a model of ours; None if the user hands over the module."""
    if "own_class" not in stored and model is None:
        return known_settings_from_dict(stored)
    if model is None:
        raise SurrogateFileError(
            f"this surrogate was fitted with {printable(str(stored['own_class']))}, whose code is "
            "not stored; build it and call Surrogate.load(path, model=module)"
        )
    return None


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what a malformed description causes into a sentence."""
    try:
        yield
    except SurrogateFileError:
        raise
    except Exception as error:  # whatever a strange value leads to
        raise SurrogateFileError(
            f"{path} does not describe a surrogate that this physgen can rebuild "
            f"({type(error).__name__}: {_said(error)}); restore it from a copy or train again"
        ) from error


@contextlib.contextmanager
def no_larger_than(tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Refuse to build a network far larger than the weights that are there for it.

    Raises
    ------
    ValueError
        Before the first memory of the excess is touched.
    """
    # four times: layers with norms of their own (spectral, weight) keep their weights twice
    bound = _FREE_NUMBERS + 4 * sum(tensor.numel() for tensor in tensors.values())
    thread, n_built = threading.get_ident(), 0

    def count(_: nn.Module, __: str, built: Tensor | None) -> None:
        nonlocal n_built
        n_built += 0 if built is None or threading.get_ident() != thread else built.numel()
        if n_built > bound:
            raise ValueError("its settings ask for a network far larger than its weights")

    hooks = (
        register_module_parameter_registration_hook(count),
        register_module_buffer_registration_hook(count),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _said(error: Exception) -> str:
    return printable(" ".join(str(error).split()), _MAX_REASON)
