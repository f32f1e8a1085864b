"""From events and settings to what a training needs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from physgen import storage
from physgen.events import Events
from physgen.models import RBM
from physgen.models.base import ModelSettings, TensorSpec
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom, as_generator, seeded_layers
from physgen.schema import SchemaError
from physgen.training import (
    Checkpoint,
    History,
    TrainingConfig,
    train,
)
from physgen.transforms import OneHot, Transform

__all__ = [
    "InMemory",
    "Source",
    "build",
    "kept",
    "one_hot_columns",
    "origin",
    "training_events",
    "with_budget",
]

# an array of integers of more values than these is a picture, not one of categories
_MAX_CATEGORIES = 12


def one_hot_columns(events: Events, model: ModelSettings | nn.Module) -> dict[str, Transform]:
    """Transforms for a model with categorical units: one-hot for Potts spins and the like.

    These are columns of 3 to 12 allowed values, and arrays of integers that hold as many.
    """
    chosen: dict[str, Transform] = {}
    if not isinstance(model, RBM):
        return chosen
    for f in events.schema:
        if f.role in ("condition", "weight") or f.jagged:
            continue
        values = f.allowed
        if values is None and f.shape and np.dtype(f.dtype).kind in "iu":
            values = tuple(np.unique(events[f.name]).tolist())
        if values is not None and 3 <= len(values) <= _MAX_CATEGORIES:
            chosen[f.name] = OneHot(tuple(float(v) for v in values))
    return chosen


def with_budget(
    config: TrainingConfig, epochs: float | None, steps: int | None, budget: str | float | None
) -> TrainingConfig:
    """The settings with the budget that was given beside them, or a default one."""
    given = {"epochs": epochs, "steps": steps, "budget": budget}
    if all(value is None for value in given.values()):
        return config if config.has_budget else dataclasses.replace(config, steps=5000)
    return dataclasses.replace(config, **given)  # type: ignore[arg-type]  # the three are as declared


def training_events(
    events: Events, fields: Iterable[str] | None, conditions: Iterable[str] | None
) -> Events:
    """The columns that are learned from, checked, with the roles that the caller gives."""
    if isinstance(conditions, str) or isinstance(fields, str):
        raise TypeError("fields and conditions are lists of names, e.g. conditions=['njet']")
    schema = events.schema.with_roles(conditions=conditions)
    events = events.replace_schema(schema)
    if fields is not None:
        always = (*schema.with_role("condition"), *schema.with_role("weight"))
        kept = schema.select({*fields, *always}).names
        if not kept:
            raise SchemaError("fields= names no column; leave it out to use all")
        events = events[[n for n in schema.names if n in kept]]
    for name in schema.with_role("condition"):
        if schema[name].jagged or schema[name].shape:
            raise SchemaError(f"the condition {name!r} must be one number per event")
    if len(events) < 10:
        raise SchemaError(f"{len(events)} events are too few to learn from; give at least 10")
    events.check_finite()
    events.check_allowed()
    return events


def build(
    model: ModelSettings | nn.Module, spec: TensorSpec, seed: int
) -> tuple[nn.Module, ModelSettings | None]:
    """The module, with initial weights of this seed, and its settings if it has some."""
    if isinstance(model, nn.Module):
        for method in ("loss", "sample"):
            if not callable(getattr(model, method, None)):
                raise TypeError(
                    f"{type(model).__name__} has no method {method!r}; a model of your own needs "
                    "loss(x, condition, *, player, rng) and sample(n_events, condition, *, rng)"
                )
        return model, None
    if isinstance(model, type) or not hasattr(model, "build"):
        raise TypeError(
            f"model must be settings such as pg.Diffusion() or an nn.Module, got {model!r}"
        )
    with seeded_layers(seed):
        return model.build(spec), model


class Source(Protocol):
    """Events to learn from: :class:`InMemory`, or :class:`physgen.streamed.Streamed`."""

    @property
    def events(self) -> Events:
        """Those that the preprocessing is fitted to, with the roles of their columns."""
        ...

    @property
    def mean_weight(self) -> float:
        """Of all events."""
        ...

    @property
    def about(self) -> dict[str, Any]:
        """Which events these are, for ``surrogate.json`` and checkpoints."""
        ...

    def training(
        self, preprocessor: Preprocessor, config: TrainingConfig, seed: int
    ) -> Callable[..., History]:
        """:func:`physgen.training.train`, with the features of all events bound."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A :class:`Source` that holds all its events."""

    events: Events

    @property
    def mean_weight(self) -> float:
        """Of these events."""
        return float(self.events.weights.mean())

    @property
    def about(self) -> dict[str, Any]:
        """Number and hash of these events."""
        return {"n_events": len(self.events), "events_sha256": self.events.sha256()}

    def training(
        self, preprocessor: Preprocessor, config: TrainingConfig, seed: int
    ) -> Callable[..., History]:
        """Training on the features of these events."""
        noise = PhiloxRandom(seed, torch.arange(len(self.events)), stream=1)
        x, condition = preprocessor.forward(self.events, rng=noise)
        weight = None
        if self.events.schema.weight is not None:
            weight = torch.from_numpy(self.events.weights)
        return partial(
            train, x=x, condition=condition, weight=weight, config=config, rng=as_generator(seed)
        )


def origin(source: Source, config: TrainingConfig, seed: int) -> dict[str, Any]:
    """Where a surrogate comes from: data, seed, settings of the training, versions."""
    return {
        **source.about,
        "seed": seed,
        "training": dataclasses.asdict(config),
        "versions": storage.versions(),
    }


def kept(
    folder: str | os.PathLike[str] | None,
    every: str | int,
    module: nn.Module,
    settings: ModelSettings | None,
    info: Mapping[str, Any],
) -> Checkpoint | None:
    """The checkpoint of a fit, which knows of what training it is; None without a folder."""
    if folder is None:
        return None
    shape = {name: list(t.shape) for name, t in module.state_dict().items()}
    about = {
        "n_events": info["n_events"],
        "stream": info.get("stream"),
        "seed": info["seed"],
        "model": storage.model_to_dict(settings, module),
        "network_sha256": hashlib.sha256(json.dumps(shape).encode()).hexdigest(),
        "versions": info["versions"],
    }
    return Checkpoint(folder, every, about=about)
