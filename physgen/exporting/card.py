"""The model card: all that a reader of the file must know, as JSON beside it and inside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from physgen import storage
from physgen.exporting.graph import IN_RANGE, SurrogateGraph
from physgen.exporting.noise import Draw
from physgen.schema import Field
from physgen.surrogate import Surrogate
from physgen.transforms import Array, Binary, Categories

__all__ = [
    "card_of",
    "card_path",
    "draws_of",
    "example_of",
    "load_card",
    "metadata_of",
    "sha256_of",
]

FORMAT_VERSION = 1
_LAWS = {
    "normal": "independent standard normal numbers, drawn anew for each event",
    "uniform": "independent uniform numbers in the open interval (0, 1), anew for each event",
}


def card_of(
    surrogate: Surrogate,
    graph: SurrogateGraph,
    outputs: Mapping[str, Array],
    *,
    validation: Any,
) -> dict[str, Any]:
    """Card of an exported surrogate, but for its example and the hash of the file.

    Parameters
    ----------
    surrogate : Surrogate
    graph : SurrogateGraph
    outputs : mapping of str to array
        An example of them, for shapes and types.
    validation : object
        What a comparison found, for JSON; None to leave it out.
    """
    info = dict(surrogate.info)
    if validation is not None:
        info["validation"] = validation
    return {
        "physgen_card": FORMAT_VERSION,
        "inputs": [
            *(_condition(surrogate, name) for name in graph.condition_names),
            *(_noise(name, graph) for name in graph.input_names[len(graph.condition_names) :]),
        ],
        "outputs": [_output(surrogate, name, values) for name, values in outputs.items()],
        "draws": [
            {"input": d.kind, "stream": d.stream, "shape": list(d.shape)} for d in graph.draws
        ],
        "model": storage.model_to_dict(surrogate.settings, surrogate.model),
        "effort": graph.effort,
        "trained": info,
        "last_losses": {
            player: {
                "training": values[-1],
                "held_out": next(reversed(surrogate.history.validation.get(player, [])), None),
            }
            for player, values in surrogate.history.losses.items()
        },
        "conventions": dict(surrogate.schema.conventions),
        "made_with": storage.versions(),
    }


def _condition(surrogate: Surrogate, name: str) -> dict[str, Any]:
    field = surrogate.schema[name]
    low, high = surrogate.conditions.ranges[name]
    transform = surrogate.preprocessor.transforms[name]
    found: dict[str, Any] = {
        "name": name, "role": "condition", "dtype": "float64", "shape": ["batch"],
        "unit": field.unit, "low": low, "high": high, "column_dtype": field.dtype,
        "description": field.description,
    }  # fmt: skip
    if isinstance(transform, Binary | Categories):
        found["values"] = list(transform.values)
    return found


def _noise(kind: str, graph: SurrogateGraph) -> dict[str, Any]:
    width = sum(d.width for d in graph.draws if d.kind == kind)
    return {
        "name": kind, "role": "noise", "dtype": "float32", "shape": ["batch", width],
        "law": _LAWS[kind],
    }  # fmt: skip


def _output(surrogate: Surrogate, name: str, values: Array) -> dict[str, Any]:
    said = "whether the conditions lie where the surrogate was trained"
    field = Field(name, description=said if name == IN_RANGE else "number of entries")
    if name in surrogate.schema:
        field = surrogate.schema[name]
    found = {
        "name": name, "dtype": values.dtype.name, "shape": ["batch", *values.shape[1:]],
        "unit": field.unit, "description": field.description,
    }  # fmt: skip
    cloud = surrogate.preprocessor.clouds.get(field.collection) if field.jagged else None
    if cloud is not None:
        found["multiplicity"] = cloud.counter
    return found


def example_of(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Any]:
    """Inputs and the outputs that belong to them, as lists of numbers."""
    return {
        "inputs": {name: values.tolist() for name, values in inputs.items()},
        "outputs": {name: values.tolist() for name, values in outputs.items()},
        "tolerance": 1e-5,
    }


def metadata_of(card: Mapping[str, Any]) -> dict[str, str]:
    """The card as metadata of an ONNX file: whole, and in parts for readers without JSON.

    ``physgen.card`` is the JSON; ``physgen.range.NAME`` is "low high", ``physgen.unit.NAME`` the
    unit, and ``physgen.example.NAME`` the numbers of the example, separated by blanks.
    """
    parts = {"physgen.card": json.dumps(card)}
    for entry in card["inputs"]:
        if entry["role"] == "condition":
            parts[f"physgen.range.{entry['name']}"] = f"{entry['low']!r} {entry['high']!r}"
    for entry in (*card["inputs"], *card["outputs"]):
        parts[f"physgen.unit.{entry['name']}"] = entry.get("unit", "")
    for side in ("inputs", "outputs"):
        for name, values in card["example"][side].items():
            flat = np.array(values, dtype=np.float64).reshape(-1).tolist()
            parts[f"physgen.example.{name}"] = " ".join(map(repr, flat))
    return parts


def card_path(path: Path) -> Path:
    """Where the card lies: of ``shower.onnx`` in ``shower.json``, of others with both suffixes."""
    return path.with_suffix(".json" if path.suffix == ".onnx" else f"{path.suffix}.json")


def load_card(path: str | Path) -> dict[str, Any]:
    """Read the card of an exported model and check that it belongs to the file.

    Parameters
    ----------
    path : str or path
        The file: the card of ``shower.onnx`` is ``shower.json``, of ``shower.pt2`` it is
        ``shower.pt2.json``.

    Returns
    -------
    dict
        With "inputs", "outputs", "example", "trained", ...

    Raises
    ------
    FileNotFoundError
        If either file is missing.
    ValueError
        If the card is damaged, of a newer format, or belongs to another file.
    """
    model, beside = Path(path), card_path(Path(path))
    for wanted in (model, beside):
        if not wanted.is_file():
            raise FileNotFoundError(
                f"there is no {wanted}; an exported model is two files, {model.name} and its "
                f"card {beside.name}: copy both"
            )
    try:
        card = json.loads(beside.read_text())
        version = card["physgen_card"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{beside} is not a model card, or is damaged: {error}") from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{beside} has format version {version}, but this physgen reads up to "
            f"{FORMAT_VERSION}; upgrade physgen"
        )
    if sha256_of(model) != card["file"]["sha256"]:
        raise ValueError(
            f"{model} is not the file that {beside.name} describes (its SHA-256 differs): it is "
            "damaged, altered or from another export; export again"
        )
    found: dict[str, Any] = card
    return found


def draws_of(card: Mapping[str, Any]) -> list[Draw]:
    """The draws of an event, in order."""
    return [Draw(d["input"], d["stream"], tuple(d["shape"])) for d in card["draws"]]


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
