"""What a surrogate can say about given events: their log-probability, and their unknown parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.events import Events
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom
from physgen.schema import SchemaError, no_such_field
from physgen.transforms import Array, Binary, Constant, Linear, OneHot, Standardize

__all__ = ["known_features", "log_volume", "tensors_of"]

# transforms that go over to features one to one, with the same density everywhere
_ONE_TO_ONE = (Binary, OneHot, Constant, Linear, Standardize)


def tensors_of(
    preprocessor: Preprocessor, given: Events | Mapping[str, Any], *, unknown: bool = False
) -> tuple[Tensor, Tensor]:
    """Features and conditions of events that the caller has.

    Parameters
    ----------
    preprocessor : Preprocessor
    given : Events or mapping of str to array
        With the fields of the surrogate; other columns are left out.
    unknown : bool, default False
        Accept values of discrete columns that the training events did not have, since they
        stand for what is not known.

    Returns
    -------
    x : Tensor of shape (n_events, n_features)
    condition : Tensor of shape (n_events, n_conditions)

    Raises
    ------
    SchemaError
        If a field is missing, or has another shape or kind.
    ValueError
        If a discrete column holds a value that the training events did not have.
    """
    columns = given.to_dict() if isinstance(given, Events) else dict(given)
    weight = preprocessor.schema.weight
    schema = preprocessor.schema.select(n for n in preprocessor.schema.names if n != weight)
    for name in schema.names:
        if name not in columns:
            raise SchemaError(no_such_field(name, tuple(columns), "the events given"))
    events = Events(schema, {name: columns[name] for name in schema.names})
    events.check_finite()
    if not unknown:
        _check_values(preprocessor, events)
    rng = PhiloxRandom(0, torch.arange(len(events)), stream=1)
    return preprocessor.forward(events, rng=rng)


def log_volume(preprocessor: Preprocessor) -> float:
    """Logarithm of the volume of features per volume of columns in the units of the file.

    Raises
    ------
    ValueError
        If a column went through a transform that is not one to one or not linear.
    """
    total = 0.0
    for name, transform in preprocessor.transforms.items():
        if name in preprocessor.schema.with_role("condition"):
            continue
        if not isinstance(transform, _ONE_TO_ONE):
            raise ValueError(
                "log_prob in the units of the file needs columns that are discrete or went "
                f"through a linear transform, but {name!r} went through "
                f"{type(transform).__name__}; fit with transforms={{{name!r}: Linear()}} from "
                "physgen.transforms"
            )
        if isinstance(transform, Linear | Standardize):
            total -= float(np.log(transform.std).sum())
    if preprocessor.clouds:
        raise ValueError(f"log_prob knows no jagged columns: {', '.join(preprocessor.clouds)}")
    return total


def known_features(
    preprocessor: Preprocessor, n_events: int, known: Mapping[str, Any]
) -> tuple[Tensor, dict[str, Array]]:
    """Which features are known, from which entries of the columns are.

    Parameters
    ----------
    preprocessor : Preprocessor
    n_events : int
    known : mapping of str to bool array
        For each column that is known in part a mask of the shape of an event's entry, or of
        all events; or True. Columns that are not named are unknown.

    Returns
    -------
    features : bool Tensor of shape (n_events, n_features)
    masks : dict of str to array of shape (n_events, *shape)

    Raises
    ------
    ValueError, SchemaError
        If a mask does not fit its column.
    """
    spec = preprocessor.spec
    features = np.zeros((n_events, spec.n_features), dtype=bool)
    masks = {}
    for name, given in known.items():
        where = preprocessor.features_of(name)
        shape = preprocessor.schema[name].shape
        mask = np.asarray(given)
        if mask.dtype != bool or mask.shape not in ((), shape, (n_events, *shape)):
            raise ValueError(
                f"the mask of {name!r} must hold booleans of shape {shape} or "
                f"{(n_events, *shape)}, True where the entry is known; got {mask.dtype} of shape "
                f"{mask.shape}"
            )
        masks[name] = np.broadcast_to(mask, (n_events, *shape))
        flat = masks[name].reshape(n_events, -1)
        width = where.stop - where.start
        if flat.shape[1] != width:
            if width % flat.shape[1]:
                raise ValueError(f"{name!r} cannot be known in part; leave it out of known=")
            flat = flat.repeat(width // flat.shape[1], axis=1)
        features[:, where] = flat
    return torch.from_numpy(features), masks


def _check_values(preprocessor: Preprocessor, events: Events) -> None:
    for name, transform in preprocessor.transforms.items():
        if isinstance(transform, Binary | OneHot) and name in events.schema:
            wrong = events[name][~np.isin(events[name], transform.values)]
            if wrong.size:
                raise ValueError(
                    f"{name} holds {wrong.size} values that the surrogate does not know (first: "
                    f"{wrong.flat[0]:g}; known: {', '.join(f'{v:g}' for v in transform.values)})"
                )
