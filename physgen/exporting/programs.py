"""From a graph to a file: traced by torch.export, written as ONNX or as PT2."""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physgen.exporting.errors import ExportError
from physgen.exporting.graph import SurrogateGraph

__all__ = ["require_onnx", "trace", "write_onnx", "write_pt2"]

# protobuf, in which ONNX is written, ends there
_LARGEST = 2_000_000_000


def require_onnx() -> None:
    """Refuse, before the work, if the packages that write ONNX are missing."""
    try:
        import onnx
        import onnxscript
    except ImportError as error:
        raise ModuleNotFoundError(
            f"writing ONNX needs the package {error.name!r}, which is not installed; install the "
            "extra: pip install 'physgen[onnx]' (a .pt2 file needs no other package)",
            name=error.name,
        ) from error
    del onnx, onnxscript


def trace(graph: SurrogateGraph, example: Mapping[str, Tensor]) -> torch.export.ExportedProgram:
    """Follow the graph once, for any number of events.

    Parameters
    ----------
    graph : SurrogateGraph
    example : mapping of str to Tensor
        At least two events, by the names of the inputs.

    Raises
    ------
    ExportError
        If the model's ``sample`` cannot be traced; the text has the reason that torch gives.
    """
    inputs = tuple(example[n] for n in graph.input_names)
    batch = torch.export.Dim("batch", max=1 << 20)
    shapes = {"inputs": tuple({0: batch} for _ in inputs)}
    problems = []
    # without dynamo first: it is faster, and follows branches on constants; dynamo knows len(x)
    for strict in (False, True):
        try:
            with torch.no_grad(), _quiet():
                return torch.export.export(graph, inputs, dynamic_shapes=shapes, strict=strict)
        except Exception as error:  # torch raises what it likes, its own types among them
            problems.append(error)
    kind = type(graph.model).__name__
    raise ExportError(
        f"the sample of {kind} cannot be traced into a graph: {_first_line(problems[0])}. It must "
        "not branch on the values of tensors (loops of fixed length are unrolled), use "
        "x.shape[0] instead of len(x), and draw all its numbers from rng"
    ) from problems[0]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def write_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    *,
    inputs: list[str],
    outputs: list[str],
    opset: int,
    metadata: Mapping[str, str],
) -> None:
    """Write one ONNX file, whose metadata hold the card.

    Raises
    ------
    ExportError
        If an operation has no ONNX version, or the file would pass 2 GB.
    """
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if size > _LARGEST:
        raise ExportError(
            f"the weights take {size / 1e9:.1f} GB, and an ONNX file holds 2 GB; export to .pt2"
        )
    try:
        with _quiet():
            made = torch.onnx.export(
                program, (), dynamo=True, opset_version=opset, verbose=False,
                input_names=inputs, output_names=outputs, external_data=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(
            f"an operation of the model has no ONNX version: {_first_line(error)}; export to .pt2"
        ) from error
    if made is None:
        raise ExportError("torch.onnx.export gave nothing; upgrade torch")
    made.model.metadata_props.update(metadata)
    with _quiet():
        made.save(str(path), external_data=False)


def write_pt2(
    program: torch.export.ExportedProgram, path: Path, *, card: Mapping[str, Any]
) -> None:
    """Write the traced program, with the card as the extra file ``card.json``."""
    with _quiet():
        torch.export.save(program, path, extra_files={"card.json": json.dumps(card)})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the messages of the exporter about itself and packages that are not needed."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
