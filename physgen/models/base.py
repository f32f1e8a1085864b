"""What a generative model is: a loss per event, and a sampler, on tensors.

A model knows no files, names or units. It is given ``x`` of shape (n_events, n_features) and
``condition`` of shape (n_events, n_conditions), both float32, and a source of random numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = [
    "CompletesEvents",
    "GenerativeModel",
    "HasEnergy",
    "HasLogProb",
    "HasLogZ",
    "LogPartition",
    "ModelSettings",
    "TensorSpec",
]


class GenerativeModel(nn.Module, ABC):
    """A density on tensors: learns from ``loss``, makes events with ``sample``.

    Attributes
    ----------
    judges : bool, default False
        Whether :meth:`diagnose` or :meth:`loss` may say that the model diverges: its looks are
        then due by the step alone where a training has so many, whatever they cost.
    splits_batches : bool, default False
        Whether the loss of an event does not depend on the others of its batch, so that a batch
        may be taken in parts where the memory of the device is too small for it.
    batch_means : tuple of str, default ()
        Names of buffers that follow means over the batches. Where many processes train, each on
        its part of a batch, these become those over the whole; other buffers are of each process.
    """

    judges: bool = False
    splits_batches: bool = False
    batch_means: tuple[str, ...] = ()

    @property
    def gradient_scale(self) -> float:
        """Unit of the gradient's norm, in which the training limits it."""
        return 1.0

    @abstractmethod
    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of one player, one number per event.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
            Events of the truth.
        condition : Tensor of shape (n_events, n_conditions)
            Their conditions; width 0 where there are none.
        player : str
            One of the keys of :meth:`players`.
        rng : Random
            Source of noise.

        Returns
        -------
        Tensor of shape (n_events,)
            The training loop takes the mean with the event weights.
        """

    @abstractmethod
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events.

        Row i of the result may depend only on ``condition[i]``, on the parameters and on row i of
        the draws from ``rng``; the first axis of every draw is the events. A model whose sampling
        effort can be chosen takes it as further keyword arguments (``n_steps``), which
        ``surrogate(n, ..., n_steps=500)`` passes on.

        Returns
        -------
        Tensor of shape (n_events, n_features)
            Binary features are exactly -1 or +1.
        """

    @abstractmethod
    def players(self) -> dict[str, torch.optim.Optimizer]:
        """Optimizer of each player, in the order of their turns; its rate is the peak rate."""

    def diagnose(
        self, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[dict[str, float], list[str]]:
        """What a look into the training shows, besides the losses.

        The training loop calls this now and then, in eval mode and without gradients
        (``torch.enable_grad()`` brings them back), with noise of its own: the same at every look,
        so that a curve shows the model and not the draw. Looks take up to 5 % of the time of the
        training, however long each takes, and one is taken in the end, with the averaged weights.
        Parameters, buffers and torch's global generator are afterwards put back as they were;
        whatever else the model holds must be left as it is.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
            Up to 1024 held-out events; events of the training where none are held out. Where
            events have weights, these are drawn in proportion to them, so that a plain mean is
            the weighted one, and a heavy event may come more than once, of which an error of a
            plain mean knows nothing. Where some weights are negative this cannot be: the events
            are then shown as they are, and means over them are without weights.
        condition : Tensor of shape (n_events, n_conditions)
            Their conditions.
        rng : Random
            Source of noise.

        Returns
        -------
        dict of str to float
            Numbers by name, the same names at every call, "step" excepted. ``"a_error"`` is taken
            for the standard error of ``"a"``.
        list of str
            Warnings in plain words. Each is reported once, at the step of its first appearance;
            two that differ in their numbers alone are the same.

        Raises
        ------
        FloatingPointError
            If the model diverges although its loss is finite, such as chains that run away; the
            text says so in plain words. As for one that :meth:`loss` raises, the training goes
            back to the last state that passed a look, with half the learning rate, and ends with
            a TrainingError at the sixth time.
        """
        return {}, []


@runtime_checkable
class HasLogProb(Protocol):
    """A model whose density can be evaluated."""

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the density, of shape (n_events,)."""
        ...


@runtime_checkable
class HasEnergy(Protocol):
    """A model with an unnormalized density exp(-energy)."""

    def energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """Energy up to a constant, of shape (n_events,)."""
        ...


# below so many effective chains the error of an annealing is seen to be too small
_TRUSTED = 100


@dataclass(frozen=True)
class LogPartition:
    """Logarithm of a partition function, in nats, and how it was found.

    Parameters
    ----------
    value, std_error : float
        The error is 0 for an exact value.
    method : str
        "exact", "ais", "trajectory", "reverse ais" or "reverse trajectory".
    effective_sample_size : float
        Chains of the annealing that count; below about 10 the value cannot be trusted.

    Examples
    --------
    >>> print(LogPartition(21.41249, 0.0, "exact", float("inf")))
    21.4125 (exact)
    """

    value: float
    std_error: float
    method: str
    effective_sample_size: float

    @property
    def note(self) -> str:
        """How it was found, and a warning where the error cannot be trusted."""
        if self.effective_sample_size >= _TRUSTED:
            return self.method
        n = self.effective_sample_size
        return f"{self.method}, only {n:.0f} chains effective: the error is too small"

    def __str__(self) -> str:
        if self.std_error == 0:
            return f"{self.value:.4f} ({self.method})"
        return (
            f"{self.value:.4f} ± {self.std_error:.4f} ({self.method}, "
            f"{self.effective_sample_size:.0f} chains effective)"
        )


@runtime_checkable
class HasLogZ(Protocol):
    """A model that knows its partition function, exactly or with an error."""

    def log_z(self, condition: Tensor | None = None, **how: Any) -> LogPartition:
        """Logarithm of the partition function under one condition, (1, n_conditions)."""
        ...


@runtime_checkable
class CompletesEvents(Protocol):
    """A model that can draw some features given the others."""

    def complete(
        self, x: Tensor, known: Tensor, condition: Tensor, *, rng: Random, **effort: Any
    ) -> Tensor:
        """Events with the features that are not known drawn, (n_events, n_features)."""
        ...


class ModelSettings(Protocol):
    """Frozen dataclass of settings that knows how to build its model."""

    def build(self, spec: TensorSpec) -> GenerativeModel:
        """Build the module; refuse in one sentence what the model cannot handle."""
        ...
