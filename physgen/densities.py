"""What a surrogate can say about given events: their log-probability, and their unknown parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from physgen.blocks import BLOCK_CPU, checked
from physgen.checks import check_effort
from physgen.conditions import TrainedConditions
from physgen.events import Events
from physgen.models.base import CompletesEvents, HasLogProb
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom
from physgen.schema import SchemaError, no_such_field
from physgen.training import threads
from physgen.transforms import Array, Binary, Constant, Linear, OneHot, Standardize

__all__ = ["complete", "completed", "given_events", "known_features", "log_prob", "log_volume"]

# transforms that go over to features one to one, with the same density everywhere
_ONE_TO_ONE = (Binary, OneHot, Constant, Linear, Standardize)


def given_events(
    preprocessor: Preprocessor,
    conditions: TrainedConditions,
    given: Events | Mapping[str, Any],
    *,
    unknown: bool = False,
    extrapolate: bool = False,
) -> Events:
    """Events that the caller has, as events of the surrogate.

    Parameters
    ----------
    preprocessor : Preprocessor
    conditions : TrainedConditions
    given : Events or mapping of str to array
        With the generated fields of the surrogate, and its conditions as for sampling. Other
        columns are left out.
    unknown : bool, default False
        Accept values of discrete columns that the training events did not have, since they
        stand for what is not known.
    extrapolate : bool, default False
        Accept conditions outside the trained range.

    Raises
    ------
    SchemaError
        If a field is missing, or has another shape or kind.
    ConditionError
        If a condition is missing or outside the trained range.
    ValueError
        If a discrete column holds a value that the training events did not have.
    """
    columns = given.to_dict() if isinstance(given, Events) else dict(given)
    schema = preprocessor.schema
    of_conditions = schema.with_role("condition")
    made = [n for n in schema.names if n not in of_conditions and n != schema.weight]
    for name in made:
        if name not in columns:
            raise SchemaError(no_such_field(name, tuple(columns), "the events given"))
    asked = {n: columns[n] for n in of_conditions if n in columns}
    checked, _ = conditions.check(len(columns[made[0]]), asked, extrapolate=extrapolate)
    events = Events(
        schema.select([n for n in schema.names if n != schema.weight]),
        {name: columns[name] for name in made} | checked,
    )
    events.check_finite()
    if not unknown:
        _check_values(preprocessor, events)
    return events


def log_prob(model: HasLogProb, preprocessor: Preprocessor, events: Events) -> Array:
    """Logarithm of the probability of each event, (n_events,), in the units of the file."""
    volume = log_volume(preprocessor)

    def of_block(rows: Array) -> Tensor:
        x, condition = _tensors(preprocessor, events[rows])
        device = next(model.parameters()).device  # type: ignore[attr-defined]  # an nn.Module
        return model.log_prob(x.to(device), condition.to(device)).double().cpu()

    return _in_blocks(len(events), of_block).numpy() + volume


def complete(
    model: nn.Module,
    preprocessor: Preprocessor,
    conditions: TrainedConditions,
    events: Events | Mapping[str, Any],
    known: Mapping[str, Any],
    *,
    seed: int,
    extrapolate: bool,
    effort: Mapping[str, Any],
) -> tuple[Events, Tensor, dict[str, Array]]:
    """The events as given, the completed features, and what was known, by column.

    Raises
    ------
    TypeError
        If the model cannot do that, or does not take such an argument.
    """
    if not isinstance(model, CompletesEvents):
        kind = type(model).__name__
        raise TypeError(f"{kind} cannot complete events; pg.posterior may serve instead")
    check_effort(model.complete, effort, filled_in="x known condition rng")
    given = given_events(preprocessor, conditions, events, unknown=True, extrapolate=extrapolate)
    features, masks = known_features(preprocessor, len(given), known)
    with threads(1):
        x = completed(model, preprocessor, given, features, seed=seed, effort=effort)
    return given, checked(model, x, (len(given), preprocessor.spec.n_features)), masks


def completed(
    model: CompletesEvents,
    preprocessor: Preprocessor,
    events: Events,
    features: Tensor,
    *,
    seed: int,
    effort: Mapping[str, Any],
) -> Tensor:
    """Tensors of the events with their unknown features drawn, (n_events, n_features)."""

    def of_block(rows: Array) -> Tensor:
        x, condition = _tensors(preprocessor, events[rows])
        device = next(model.parameters()).device  # type: ignore[attr-defined]  # an nn.Module
        numbers = torch.arange(BLOCK_CPU, device=device) + int(rows[0])
        known = features[torch.from_numpy(rows)].to(device)
        rng = PhiloxRandom(seed, numbers)
        x, condition = x.to(device), condition.to(device)
        return model.complete(x, known, condition, rng=rng, **effort).cpu()

    return _in_blocks(len(events), of_block)


def _in_blocks(n_events: int, of_block: Callable[[Array], Tensor]) -> Tensor:
    """Results of whole blocks, the last one filled up with its last event.

    A matrix product of another height may round differently, and what is said of an event must
    not depend on how many others there are.
    """
    parts = []
    for start in range(0, n_events, BLOCK_CPU):
        rows = np.arange(start, start + BLOCK_CPU)
        n = min(BLOCK_CPU, n_events - start)
        parts.append(of_block(rows.clip(max=n_events - 1))[:n])
    return torch.cat(parts) if parts else torch.zeros(0)


def _tensors(preprocessor: Preprocessor, events: Events) -> tuple[Tensor, Tensor]:
    rng = PhiloxRandom(0, torch.arange(len(events)), stream=1)
    return preprocessor.forward(events, rng=rng)


def log_volume(preprocessor: Preprocessor) -> float:
    """Logarithm of the volume of features per volume of columns in the units of the file.

    Raises
    ------
    ValueError
        If a column went through a transform that is not one to one or not linear.
    """
    if preprocessor.clouds:
        raise ValueError(f"log_prob knows no jagged columns: {', '.join(preprocessor.clouds)}")
    total = 0.0
    for name, transform in preprocessor.transforms.items():
        if name in preprocessor.schema.with_role("condition"):
            continue
        if not isinstance(transform, _ONE_TO_ONE):
            raise ValueError(
                "log_prob in the units of the file needs columns that are discrete or went "
                f"through a linear transform, but {name!r} went through "
                f"{type(transform).__name__}; fit with transforms={{{name!r}: Linear()}}, or "
                "OneHot() if it holds categories, from physgen.transforms"
            )
        if isinstance(transform, Linear | Standardize):
            total -= float(np.log(transform.std).sum())
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
