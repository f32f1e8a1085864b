"""What the preprocessed tensors look like: all that a model knows of the columns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Rows", "TensorSpec"]


@dataclass(frozen=True)
class Rows:
    """How many rows of a padded array an event has, told by one of its conditions.

    Parameters
    ----------
    feature : int
        Which column of ``condition`` tells it.
    shift, scale : float
        The number is ``shift + scale * condition[:, feature]``, rounded; with a scale of 0 there
        need be no such column.
    n_max : int, optional
        Largest number of rows, where the condition counts on beyond them.
    ordered : bool, default False
        Whether the rows of every event stand in a known order (falling momentum), which tells
        something of each; else their order means nothing.
    """

    feature: int
    shift: float
    scale: float
    n_max: int | None = None
    ordered: bool = False

    def count(self, condition: Tensor) -> Tensor:
        """Number of rows of each event, of shape (n_events,), int64; 0 or more."""
        if self.scale == 0:
            number = condition.new_full((len(condition),), self.shift)
        else:
            number = self.shift + self.scale * condition[:, self.feature]
        return number.round().clamp(0, self.n_max).to(torch.int64)


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """What the preprocessed tensors look like; settings build a model from it.

    Parameters
    ----------
    n_features : int
        Width of ``x``.
    n_conditions : int, default 0
        Width of ``condition``.
    binary : tuple of bool, optional
        For each feature whether it takes only the values -1 and +1 (spins, charges, one-hot
        entries); the others are real with mean about 0 and variance about 1.
    one_hot : tuple of (int, int), optional
        First feature and number of values of each categorical unit: binary features of which
        exactly one is +1 (the Potts spins of a lattice, one after the other).
    shape : tuple of int, optional
        Shape of an event where all features together are one array, such as (16, 16) for the
        spins of a lattice; empty otherwise.
    periodic : tuple of bool, optional
        For each axis of ``shape`` whether its ends meet: lattices, angles of a calorimeter.
    rows : Rows, optional
        Where the array is a set of rows (particles of a jet), of which an event has the first few
        and zeros behind.
    bounds : tuple of (float, float), optional
        Smallest and largest value of all features, where these are the gray levels of a picture.
    stages : tuple of TensorSpec, optional
        Where the features come in groups (energies of a shower, then its shape): each is made
        given the conditions and all groups before it, which are conditions in its spec.
    """

    n_features: int
    n_conditions: int = 0
    binary: tuple[bool, ...] = ()
    one_hot: tuple[tuple[int, int], ...] = ()
    shape: tuple[int, ...] = ()
    periodic: tuple[bool, ...] = ()
    rows: Rows | None = None
    bounds: tuple[float, float] | None = None
    stages: tuple[TensorSpec, ...] = ()

    def __post_init__(self) -> None:
        if not self.binary:
            object.__setattr__(self, "binary", (False,) * self.n_features)
        if not self.periodic:
            object.__setattr__(self, "periodic", (False,) * len(self.shape))
        if len(self.binary) != self.n_features:
            raise ValueError(
                f"binary has {len(self.binary)} entries for {self.n_features} features"
            )
        if self.shape and math.prod(self.shape) != self.n_features:
            raise ValueError(f"an array of shape {self.shape} has not {self.n_features} features")
        if len(self.periodic) != len(self.shape):
            raise ValueError(f"periodic has {len(self.periodic)} entries for {self.shape}")
        before = self.n_conditions
        for stage in self.stages:
            if stage.n_conditions != before:
                raise ValueError(
                    f"a stage has {stage.n_conditions} conditions, but {before} numbers are known"
                )
            before += stage.n_features
        if self.stages and before != self.n_conditions + self.n_features:
            raise ValueError("the stages together do not have all features")

    @property
    def n_binary(self) -> int:
        """Number of features with the values -1 and +1."""
        return sum(self.binary)

    def mask(self, condition: Tensor) -> Tensor | None:
        """1 for the features of the rows that an event has, 0 for the padding behind them.

        Noise and losses belong to the former only: a model multiplies both with it.

        Parameters
        ----------
        condition : Tensor of shape (n_events, n_conditions)

        Returns
        -------
        Tensor of shape (n_events, n_features), in the type of ``condition``, or None
            None where the features are no set of rows, and so all of them are always there.

        Examples
        --------
        >>> spec = TensorSpec(n_features=6, n_conditions=1, shape=(3, 2), rows=Rows(0, 1.0, 1.0))
        >>> spec.mask(torch.tensor([[-1.0], [1.0]]))
        tensor([[0., 0., 0., 0., 0., 0.],
                [1., 1., 1., 1., 0., 0.]])
        """
        if self.rows is None:
            return None
        n_max, width = self.shape[0], self.n_features // self.shape[0]
        row = torch.arange(n_max, device=condition.device)
        present = row < self.rows.count(condition)[:, None]
        return present.repeat_interleave(width, dim=1).to(condition.dtype)
