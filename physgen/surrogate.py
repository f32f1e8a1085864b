"""Surrogate: a simulator learned from events.

It is made by :meth:`Surrogate.fit`, called like any simulator, and is the only thing that is saved
and loaded. On disk it is a folder: ``surrogate.json`` says everything in words and numbers,
``weights.safetensors`` holds the network.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from physgen import blocks, densities, fitting, storage
from physgen.checks import check_effort, whole_number
from physgen.conditions import TrainedConditions, range_of
from physgen.described import describe
from physgen.estimates import Estimate
from physgen.events import Events, require_events
from physgen.files import EventStream
from physgen.models.base import HasLogProb, HasLogZ, ModelSettings
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom, Rng, as_seed
from physgen.schema import Schema
from physgen.shards import event_range, pieces_of
from physgen.streamed import Streamed
from physgen.training import History, Progress, TrainingConfig, TrainingError, threads
from physgen.transforms import Array, Transform

__all__ = ["Surrogate"]


class Surrogate:
    """A generative model with the schema and the transforms of the events it learned from.

    Attributes
    ----------
    schema : Schema
        Of the events that it makes: the fields that it was fitted to.
    settings : dataclass or None
        Settings of the model; None for a module of the user's own.
    history : History
        Losses along the training.
    info : dict
        Where it comes from: versions, seed, training settings, number and hash of the events.

    Examples
    --------
    >>> import physgen as pg
    >>> x = np.random.default_rng(0).normal(size=500)
    >>> truth = pg.Events.from_dict({"x": x, "y": x + 1.0})
    >>> surrogate = pg.Surrogate.fit(truth, pg.Diffusion(n_hidden=16), steps=20, rng=1)
    >>> len(surrogate(10, rng=2))
    10
    """

    def __init__(
        self,
        *,
        preprocessor: Preprocessor,
        model: nn.Module,
        settings: ModelSettings | None,
        ranges: Mapping[str, tuple[float, float]],
        mean_weight: float = 1.0,
        history: History | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.preprocessor, self.model, self.settings = preprocessor, model.eval(), settings
        self.schema = preprocessor.schema
        self.conditions = TrainedConditions(self.schema, ranges, preprocessor.transforms)
        self.mean_weight = mean_weight
        self.history = history or History()
        self.info = dict(info or {})

    @classmethod
    def fit(
        cls,
        events: Events | EventStream,
        model: ModelSettings | nn.Module,
        *,
        fields: Iterable[str] | None = None,
        conditions: Iterable[str] | None = None,
        transforms: Mapping[str, Transform] | None = None,
        epochs: float | None = None,
        steps: int | None = None,
        budget: str | float | None = None,
        training: TrainingConfig | None = None,
        rng: Rng,
        progress: Callable[[Progress], None] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: str | int = "5m",
    ) -> Surrogate:
        """Train a surrogate on events; in the processes of torchrun, one by all of them.

        Parameters
        ----------
        events : Events or EventStream
            The truth, with at least 10 events; weights count, also negative ones. From
            :func:`physgen.stream` for files larger than memory.
        model : settings or nn.Module
            ``pg.Diffusion()``, ``pg.GAN()``, ...; or a module of your own with ``loss`` and
            ``sample`` as in :class:`physgen.models.base.GenerativeModel`.
        fields : iterable of str, optional
            Columns to use; all by default. Conditions and the weight are kept in any case.
        conditions : iterable of str, optional
            Columns that are given, not generated; by default those that the schema says.
        transforms : mapping of str to Transform, optional
            Transforms by field in place of the chosen ones.
        epochs, steps, budget : optional
            How long to train, one of the three; ``budget`` in wall seconds, e.g. ``"60s"``.
        training : TrainingConfig, optional
            Batch size, learning-rate schedule, device, ...
        rng : int or torch.Generator
            Seed of the initial weights, the batches and the noise.
        progress : callable, optional
            Called with a :class:`~physgen.training.Progress` a few times a second.
        checkpoint : str or path, optional
            Folder in which the training is kept. Killed at any moment, the same call goes on where
            it was last kept and, on the CPU and for steps or epochs, gives the same weights to the
            bit. The folder holds the result afterwards: delete it when the surrogate is saved.
        checkpoint_every : str or int, default "5m"
            Time, or number of steps, from one to the next.

        Returns
        -------
        Surrogate

        Raises
        ------
        SchemaError, ValueError
            If the events or the fields do not serve, or the checkpoint is of another training; the
            message says why and what to do.
        BlockingIOError
            If another process trains with this checkpoint.
        TrainingError
            If the training diverges again and again; ``error.surrogate`` is then the surrogate of
            the last good state.
        """
        config = fitting.with_budget(training or TrainingConfig(), epochs, steps, budget)
        seed = as_seed(rng)
        source: fitting.Source
        if isinstance(events, EventStream):
            source = Streamed.of(events, fields, conditions, seed)
        else:
            require_events("what a surrogate learns from", events)
            source = fitting.InMemory(fitting.training_events(events, fields, conditions))
        shown = source.events
        chosen = fitting.one_hot_columns(shown, model) | dict(transforms or {})
        preprocessor = Preprocessor.fit(shown, chosen)
        module, settings = fitting.build(model, preprocessor.spec, seed)
        info = fitting.origin(source, config, seed)
        ranges = {n: range_of(shown[n]) for n in shown.schema.with_role("condition")}

        def surrogate(history: History) -> Surrogate:
            return cls(
                preprocessor=preprocessor, model=module, settings=settings, ranges=ranges,
                mean_weight=source.mean_weight, history=history, info=info,
            )  # fmt: skip

        try:
            history = source.training(preprocessor, config, seed)(
                module, progress=progress,
                checkpoint=fitting.kept(checkpoint, checkpoint_every, module, settings, info),
            )  # fmt: skip
        except TrainingError as error:
            if error.history is not None:
                error.surrogate = surrogate(error.history)
            raise
        return surrogate(history)

    def __call__(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | Events | None = None,
        *,
        rng: Rng,
        extrapolate: bool = False,
        first_event: int = 0,
        **effort: Any,
    ) -> Events:
        """Make events with the schema of the truth.

        Parameters
        ----------
        n_events : int
            How many.
        conditions : mapping of str to array or number, or Events
            For each condition ``n_events`` values in the unit of the file, or one for all events.
            One that had a single value in training need not be given.
        rng : int or torch.Generator
            Seed. Event i depends only on (seed, i) and its conditions.
        extrapolate : bool, default False
            Accept conditions outside the trained range; the schema of the events says so.
        first_event : int, default 0
            Number of the first event, so that jobs can share one sample.
        **effort
            What the model's ``sample`` takes: ``n_steps=500`` for RBM and EBM, whose samples come
            from Markov chains, ``sampler="ptt"`` for RBM.

        Returns
        -------
        Events
            A weight column, if the truth had one, holds the mean weight of the truth.

        Raises
        ------
        ConditionError
            If conditions are missing, of the wrong length, or outside the trained range.
        TypeError
            If the model's ``sample`` does not take such an argument.
        """
        first_event = whole_number("first_event", first_event, 0)
        asked = self._checked(n_events, conditions, extrapolate, effort)
        return self._made(*asked, as_seed(rng), first_event, effort)

    def stream(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | Events | None = None,
        *,
        rng: Rng,
        extrapolate: bool = False,
        first_event: int = 0,
        stop_event: int | None = None,
        **effort: Any,
    ) -> Iterator[Events]:
        """Yield the events of :meth:`__call__` in order, in pieces of at most 65,536.

        Parameters
        ----------
        n_events, conditions, rng, extrapolate, **effort
            As for a call: the conditions are those of all ``n_events``.
        first_event, stop_event : int, optional
            Number of the first event to yield, and of the first one that is not, so that a
            stopped stream goes on with the same events, and jobs share one sample.

        Raises
        ------
        ConditionError, TypeError, ValueError
            As for a call, before the first piece.
        """
        given, outside, n_events = self._checked(n_events, conditions, extrapolate, effort)
        span = event_range(n_events, first_event, stop_event)
        size, seed = blocks.piece_size(self.model, self.preprocessor), as_seed(rng)
        return (
            self._made({n: v[a:b] for n, v in given.items()}, outside, b - a, seed, a, effort)
            for a, b in pieces_of(*span, size)
        )

    def _checked(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | Events | None,
        extrapolate: bool,
        effort: Mapping[str, Any],
    ) -> tuple[dict[str, Array], list[str], int]:
        sample: Any = self.model.sample
        check_effort(sample, effort, filled_in="n_events condition rng")
        n_events = whole_number("n_events", n_events, 1)
        return *self.conditions.check(n_events, conditions, extrapolate=extrapolate), n_events

    def _made(
        self,
        given: Mapping[str, Array],
        outside: Iterable[str],
        n_events: int,
        seed: int,
        first: int,
        effort: Mapping[str, Any],
    ) -> Events:
        with threads(1):  # as in training; and sums over more threads could round differently
            x = blocks.sample_in_blocks(
                self.model, self.preprocessor, n_events, given,
                seed=seed, first=first, effort=effort,
            )  # fmt: skip
        return self.events_of(x, given, outside)

    def events_of(self, x: Tensor, given: Mapping[str, Array], outside: Iterable[str]) -> Events:
        """Events of generated tensors, as the schema of the truth has them."""
        columns = self.preprocessor.inverse(x, given)
        if self.schema.weight is not None:
            columns[self.schema.weight] = np.full(len(x), self.mean_weight)
        # how the truth was sampled does not hold for the events of the surrogate
        said = {name: text for name, text in self.schema.conventions.items() if name != "sampling"}
        if outside:
            said["extrapolated"] = ", ".join(outside)
        schema = dataclasses.replace(self.schema, conventions=said)
        return Events(schema, {name: columns[name] for name in schema.names})

    @torch.no_grad()
    def log_prob(self, events: Events | Mapping[str, Any], *, extrapolate: bool = False) -> Array:
        """Logarithm of the model's probability of events, given their conditions.

        Parameters
        ----------
        events : Events or mapping of str to array
            With the fields of the surrogate; conditions as for sampling.
        extrapolate : bool, default False
            Accept conditions outside the trained range.

        Returns
        -------
        array of shape (n_events,), float64
            In nats. For discrete columns a probability, for real ones a density per unit of the
            file. Where ln Z is an estimate, all share its error: see :meth:`log_z`.

        Raises
        ------
        TypeError
            If the model has no density.
        SchemaError, ConditionError, ValueError
            If the events do not fit, or a transform is in the way.
        """
        if not isinstance(self.model, HasLogProb):
            kind = type(self.model).__name__
            raise TypeError(f"{kind} has no log_prob (RBM, Diffusion; for EBM -energy - log_z)")
        given = densities.given_events(
            self.preprocessor, self.conditions, events, extrapolate=extrapolate
        )
        with threads(1):
            return densities.log_prob(self.model, self.preprocessor, given)

    def log_z(
        self,
        conditions: Mapping[str, Any] | None = None,
        *,
        extrapolate: bool = False,
        **how: Any,
    ) -> Estimate:
        """Logarithm of the model's partition function, in nats, and its error.

        Parameters
        ----------
        conditions : mapping of str to number, optional
            One value for each condition.
        extrapolate : bool, default False
            Accept conditions outside the trained range.
        **how
            What the model's ``log_z`` takes: ``method``, ``n_chains``, ``n_betas``, ``rng`` (RBM).

        Returns
        -------
        Estimate
            The note says how it was found, and warns where too few chains of an annealing count
            for its error to be trusted. An exact value has the error 0.

        Raises
        ------
        TypeError
            If the model has no partition function, or does not take such an argument.
        ConditionError
            If conditions are missing or outside the trained range.
        """
        if not isinstance(self.model, HasLogZ):
            kind = type(self.model).__name__
            raise TypeError(f"{kind} has no partition function: RBM and EBM have")
        check_effort(self.model.log_z, how, filled_in="condition")
        given, _ = self.conditions.check(1, conditions, extrapolate=extrapolate)
        condition = self.preprocessor.condition(given, 1, rng=PhiloxRandom(0, torch.arange(1)))
        with threads(1):
            found = self.model.log_z(condition.to(next(self.model.parameters()).device), **how)
        return Estimate(found.value, found.std_error, note=found.note)

    def complete(
        self,
        events: Events | Mapping[str, Any],
        known: Mapping[str, Any],
        *,
        rng: Rng,
        extrapolate: bool = False,
        **effort: Any,
    ) -> Events:
        """Draw what is not known of events from the model's law given what is known.

        Parameters
        ----------
        events : Events or mapping of str to array
            With the fields of the surrogate; unknown entries may hold any value of their type.
        known : mapping of str to bool array
            For each column that is known a mask, True where it is, of the shape of one event's
            entry or of all events'; or True for all of it. Columns not named are unknown.
        rng : int or torch.Generator
            Seed. Event i depends only on (seed, i) and what is known of it.
        extrapolate : bool, default False
            Accept conditions outside the trained range.
        **effort
            ``n_steps``: block Gibbs steps of RBM.

        Returns
        -------
        Events
            The known entries as they were given.

        Raises
        ------
        TypeError
            If the model cannot do that, or does not take such an argument.
        SchemaError, ConditionError, ValueError
            If events or masks do not fit.

        Examples
        --------
        >>> import physgen as pg
        >>> spins = np.sign(np.random.default_rng(0).normal(size=(200, 1))) * np.ones((1, 4))
        >>> truth = pg.Events.from_dict({"spins": spins.astype(np.int8)})
        >>> surrogate = pg.Surrogate.fit(truth, pg.RBM(n_hidden=4), steps=300, rng=1)
        >>> half = np.array([True, True, False, False])
        >>> filled = surrogate.complete(truth, {"spins": half}, rng=2)
        >>> bool(np.mean(filled["spins"] == truth["spins"]) > 0.9)
        True
        """
        given, x, masks = densities.complete(
            self.model, self.preprocessor, self.conditions, events, known,
            seed=as_seed(rng), extrapolate=extrapolate, effort=effort,
        )  # fmt: skip
        made = self.events_of(x, {n: given[n] for n in self.schema.with_role("condition")}, ())
        kept = {n: np.where(mask, given[n], made[n]) for n, mask in masks.items()}
        return Events(made.schema, made.to_dict() | kept)

    def describe(self) -> str:
        """Say in a few lines what it makes, from what it learned and how."""
        return describe(self)

    def to(self, device: str | torch.device) -> Surrogate:
        """Move the model; events are made there and come back as numpy columns."""
        self.model.to(device)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the surrogate to a folder, whole or not at all.

        Raises
        ------
        FileExistsError
            If the folder exists and is not a surrogate; nothing in it is touched.
        """
        storage.write_folder(Path(path), self._description(), self.model.state_dict())

    def _description(self) -> dict[str, Any]:
        return {
            "schema": self.schema.to_dict(),
            "model": storage.model_to_dict(self.settings, self.model),
            "preprocessor": self.preprocessor.to_dict(),
            "condition_ranges": {
                name: list(span) for name, span in self.conditions.ranges.items()
            },
            "mean_weight": self.mean_weight,
            "info": self.info,
            "history": self.history.to_dict(),
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: nn.Module | None = None) -> Surrogate:
        """Read a surrogate; it makes the same events as before, bit for bit, on the same machine.

        Parameters
        ----------
        path : str or path
            Folder written by :meth:`save`.
        model : nn.Module, optional
            For a surrogate of a module of your own: the module, whose weights are filled in.

        Raises
        ------
        FileNotFoundError, SurrogateFileError
            If a file is missing, damaged, altered, or of a newer format.
        """
        stored, tensors = storage.read_folder(Path(path))
        with storage.explained(Path(path)), storage.no_larger_than(tensors):
            schema = Schema.from_dict(stored["schema"])
            preprocessor = Preprocessor.from_dict(stored["preprocessor"], schema)
            settings = storage.settings_from_dict(stored["model"], model)
            module = (
                model if settings is None else fitting.build(settings, preprocessor.spec, 0)[0]
            )
            if module is None:
                raise ValueError("no module")
            module.load_state_dict(tensors)
            return cls(
                preprocessor=preprocessor,
                model=module,
                settings=settings,
                ranges={n: (low, high) for n, (low, high) in stored["condition_ranges"].items()},
                mean_weight=stored["mean_weight"],
                history=History.from_dict(stored["history"]),
                info=stored["info"],
            )

    def __repr__(self) -> str:
        kind = type(self.settings or self.model).__name__
        conditions = self.schema.with_role("condition")
        given = f" given {', '.join(conditions)}" if conditions else ""
        made = [n for n in self.schema.names if n not in conditions]
        return f"Surrogate({kind}: {', '.join(made)}{given})"
