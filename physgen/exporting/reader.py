"""An exported model read again in Python: by onnxruntime, without its surrogate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from physgen.checks import whole_number
from physgen.conditions import ConditionError, in_words
from physgen.exporting.card import draws_of, load_card
from physgen.exporting.graph import IN_RANGE
from physgen.exporting.noise import philox_noise
from physgen.random import Rng, as_seed
from physgen.schema import no_such_field
from physgen.transforms import Array

__all__ = ["OnnxGenerator"]


class OnnxGenerator:
    """Makes events with an exported ``.onnx`` file, and refuses what its card excludes.

    Parameters
    ----------
    path : str or path
        The file; its card lies beside it.
    n_threads : int, default 1
        Threads of onnxruntime.

    Attributes
    ----------
    card : dict
        The model card.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing, or the two do not belong together.
    ModuleNotFoundError
        If onnxruntime is missing.
    """

    def __init__(self, path: str | os.PathLike[str], *, n_threads: int = 1) -> None:
        self.path = Path(path)
        if self.path.suffix != ".onnx":
            raise ValueError(f"{path} is no .onnx file; load a .pt2 file with torch.export.load")
        self.card = load_card(self.path)
        self._session = _session(self.path, n_threads)
        self._inputs = {entry["name"]: entry for entry in self.card["inputs"]}

    def __call__(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | None = None,
        *,
        rng: Rng,
        extrapolate: bool = False,
    ) -> dict[str, Array]:
        """Make events: the same as the surrogate makes with this seed, up to rounding.

        Parameters
        ----------
        n_events : int
            How many.
        conditions : mapping of str to array or number, optional
            For each condition ``n_events`` values, or one for all events.
        rng : int or torch.Generator
            Seed; event i depends only on (seed, i) and its conditions.
        extrapolate : bool, default False
            Accept conditions outside the trained range.

        Returns
        -------
        dict of str to array
            The generated columns; those of a jagged field padded with zeros.

        Raises
        ------
        ConditionError
            If a condition is missing, of the wrong shape, or outside the trained range.
        """
        n_events = whole_number("n_events", n_events, 1)
        given = {
            n: np.full(n_events, v) if np.ndim(v) == 0 else v
            for n, v in (conditions or {}).items()
        }
        noise = philox_noise(draws_of(self.card), as_seed(rng), np.arange(n_events))
        return self.run({**given, **noise}, extrapolate=extrapolate)

    def run(self, inputs: Mapping[str, Any], *, extrapolate: bool = False) -> dict[str, Array]:
        """Make events from conditions and noise of your own.

        Parameters
        ----------
        inputs : mapping of str to array
            All inputs of the card, for the same number of events.
        extrapolate : bool, default False
            Accept conditions outside the trained range.

        Raises
        ------
        ConditionError
            If an input is missing, of the wrong shape or kind, or a condition outside the range.
        """
        for name in inputs:
            if name not in self._inputs:
                raise ConditionError(
                    no_such_field(name, list(self._inputs), f"the inputs of {self.path.name}")
                )
        fed = {name: self._checked(entry, inputs) for name, entry in self._inputs.items()}
        lengths = {name: len(values) for name, values in fed.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name}: {n}" for name, n in lengths.items())
            raise ConditionError(f"the inputs have different numbers of events ({said})")
        names = [entry["name"] for entry in self.card["outputs"]]
        made = dict(zip(names, self._session.run(names, fed), strict=True))
        inside = made.pop(IN_RANGE)
        if not extrapolate and not inside.all():
            raise ConditionError(self._outside(fed, inside))
        return made

    def _checked(self, entry: Mapping[str, Any], inputs: Mapping[str, Any]) -> Array:
        """One input in its type, of the shape that the card wants."""
        name = entry["name"]
        unit = f" [{entry['unit']}]" if entry.get("unit") else ""
        wanted = ", ".join(map(str, entry["shape"]))
        if name not in inputs:
            raise ConditionError(
                f"{self.path.name} wants the {entry['role']} {name!r}{unit} of shape ({wanted}), "
                f"{entry['dtype']}; it was not given"
            )
        values = np.asarray(inputs[name])
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise ConditionError(f"the input {name!r} must hold finite numbers")
        if values.ndim != len(entry["shape"]) or list(values.shape[1:]) != entry["shape"][1:]:
            raise ConditionError(
                f"{self.path.name} wants {name!r}{unit} of shape ({wanted}), got {values.shape}"
            )
        return values.astype(entry["dtype"])

    def _outside(self, fed: Mapping[str, Array], inside: Array) -> str:
        ranges = ", ".join(
            f"{name!r} in {_trained(entry)}"
            for name, entry in self._inputs.items()
            if entry["role"] == "condition"
        )
        first = int(np.flatnonzero(~inside)[0])
        given = ", ".join(
            f"{n} = {fed[n][first]:g}" for n, e in self._inputs.items() if e["role"] == "condition"
        )
        return (
            f"the conditions of {int((~inside).sum())} of {len(inside)} events lie outside those "
            f"of the training (first: event {first} with {given}); {self.path.name} wants "
            f"{ranges}; pass extrapolate=True to accept that"
        )


def _trained(entry: Mapping[str, Any]) -> str:
    if "values" in entry:
        return "{" + ", ".join(f"{v:g}" for v in entry["values"]) + "}"
    unit = f" {entry['unit']}" if entry["unit"] else ""
    whole = "whole numbers " if np.dtype(entry["column_dtype"]).kind in "iu" else ""
    return f"{whole}{in_words((entry['low'], entry['high']))}{unit}"


def _session(path: Path, n_threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModuleNotFoundError(
            "reading ONNX needs the package 'onnxruntime', which is not installed; install the "
            "extra: pip install 'physgen[onnx]'",
            name="onnxruntime",
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = n_threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
