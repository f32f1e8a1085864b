"""Export of a surrogate: check, trace, compare, write."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from physgen.checks import check_effort
from physgen.exporting.card import (
    card_of,
    card_path,
    example_of,
    metadata_of,
    sha256_of,
)
from physgen.exporting.errors import ExportError
from physgen.exporting.graph import IN_RANGE, SurrogateGraph
from physgen.exporting.programs import require_onnx, trace, write_onnx, write_pt2
from physgen.files.atomic import atomic_path, check_writable
from physgen.models import EBM, RBM
from physgen.surrogate import Surrogate
from physgen.training import threads
from physgen.transforms import Array

__all__ = ["export"]

SUFFIXES = (".onnx", ".pt2")
_RESERVED = ("normal", "uniform", IN_RANGE)
_N_EXAMPLE, _N_CHECKED = 2, 64


def export(
    surrogate: Surrogate,
    path: str | os.PathLike[str],
    *,
    opset: int = 20,
    seed: int = 0,
    validation: Any = None,
    **effort: Any,
) -> dict[str, Any]:
    """Write a surrogate as one file that runs without physgen and without Python.

    The graph takes the conditions in the units of the truth and random numbers, and gives the
    columns in their units: all transforms are inside, and nothing in it is random. Beside the file
    a model card (JSON) says what goes in and comes out; see :func:`physgen.exporting.load_card`.

    Parameters
    ----------
    surrogate : Surrogate
        Of a Diffusion, GAN or VAE, or of a module of your own whose ``sample`` can be traced.
    path : str or path
        Ends with ``.onnx`` (for onnxruntime) or ``.pt2`` (``torch.export``).
    opset : int, default 20
        Version of the ONNX operations, 18 to 20.
    seed : int, default 0
        Of the example in the card.
    validation : object, optional
        What a comparison found, for the card: a Report, or anything for JSON.
    **effort
        What the model's ``sample`` takes: ``n_steps=8`` for a Diffusion. A sampler is unrolled, so
        each step makes the file slower and its graph longer.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    ExportError
        If the model samples by Markov chains or cannot be traced, or a column has the name of
        an input.
    ModuleNotFoundError
        If onnx or onnxscript is missing.
    TypeError, ValueError, OSError
        If a transform is not ours, an argument is wrong, or the file cannot be written.
    """
    target = Path(path)
    _check_arguments(surrogate, target, opset, effort)
    graph = SurrogateGraph(surrogate, effort)
    _check_names(graph)
    example = graph.example_inputs(_N_CHECKED, seed)
    tensors = {name: torch.from_numpy(values) for name, values in example.items()}
    with threads(1), torch.no_grad():
        made = graph(*(tensors[n] for n in graph.input_names))
        program = trace(graph, tensors)
    outputs = {name: values.numpy() for name, values in made.items()}
    found = validation.to_dict() if hasattr(validation, "to_dict") else validation
    card = card_of(surrogate, graph, outputs, validation=found)
    card["example"] = example_of(_first(example), _first(outputs))
    _write(program, target, card, opset)
    return card


def _check_arguments(
    surrogate: Surrogate, path: Path, opset: int, effort: Mapping[str, Any]
) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"cannot export to {path}: its name must end with .onnx or .pt2")
    if not 18 <= opset <= 20:
        raise ValueError(f"opset must be 18, 19 or 20, got {opset}")
    check_writable(path)
    check_writable(card_path(path))
    if isinstance(surrogate.settings, RBM | EBM):
        kind = type(surrogate.settings).__name__
        raise ExportError(
            f"{kind} makes events by Markov chains, hundreds of steps with random "
            "decisions: no graph to deploy. Either write a sample with `physgen sample` and read "
            "that, or train a GAN, VAE or Diffusion on such a sample and export it"
        )
    sample: Any = surrogate.model.sample
    check_effort(sample, effort, filled_in="n_events condition rng")
    if path.suffix == ".onnx":
        require_onnx()


def _check_names(graph: SurrogateGraph) -> None:
    for name in graph.column_names:
        if name in _RESERVED:
            raise ExportError(
                f"the column {name!r} has a name that every exported model gives to an input or "
                "output of its own; rename it in the file and train again"
            )
    if not graph.input_names:
        raise ExportError(
            "this surrogate draws no random numbers and has no conditions: all its events are "
            "the same, and there is nothing to export"
        )


def _first(columns: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[:_N_EXAMPLE] for name, values in columns.items()}


def _write(
    program: torch.export.ExportedProgram, path: Path, card: dict[str, Any], opset: int
) -> None:
    """Both files, the card last: a model without its card is noticed."""
    beside = card_path(path)
    card["file"] = {"name": path.name, "card": beside.name, "format": path.suffix[1:]}
    if path.suffix == ".onnx":
        card["file"]["opset"] = opset
    with atomic_path(path) as temporary:
        if path.suffix == ".onnx":
            write_onnx(
                program, temporary, opset=opset, metadata=metadata_of(card),
                inputs=[entry["name"] for entry in card["inputs"]],
                outputs=[entry["name"] for entry in card["outputs"]],
            )  # fmt: skip
        else:
            write_pt2(program, temporary, card=card)
        card["file"]["sha256"] = sha256_of(temporary)
        text = json.dumps(card, indent=1, allow_nan=False)
    with atomic_path(beside) as temporary:
        temporary.write_text(text)
