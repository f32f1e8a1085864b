"""A surrogate as one function of tensors: conditions and noise in, columns out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from physgen.exporting.columns import decode_columns, torch_type
from physgen.exporting.encoders import encode
from physgen.exporting.noise import Draw, NoiseInputs, NotedRandom, philox_noise, widths
from physgen.exporting.pieces import Tensors, constants
from physgen.random import PhiloxRandom, Random
from physgen.surrogate import Surrogate
from physgen.transforms import Array, Binary, Categories

__all__ = ["IN_RANGE", "SurrogateGraph"]

IN_RANGE = "in_range"


class SurrogateGraph(nn.Module):
    """Transforms, model and their inverses, without a random operation.

    Parameters
    ----------
    surrogate : Surrogate
        Its model is copied to the CPU; what is drawn is found out by making two events.
    effort : mapping of str to object
        What the model's ``sample`` takes, such as ``n_steps``.

    Attributes
    ----------
    draws : list of Draw
        The draws of an event, in order.
    input_names : tuple of str
        Conditions (float64, shape (n_events,)), then the noise (float32, (n_events, width)).
    """

    def __init__(self, surrogate: Surrogate, effort: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = copy.deepcopy(surrogate.model).cpu().eval()
        self._surrogate, self.effort = surrogate, dict(effort)
        self.condition_names = surrogate.schema.with_role("condition")
        self.draws = self._find_draws()
        self.input_names = (*self.condition_names, *widths(self.draws))

    @property
    def column_names(self) -> tuple[str, ...]:
        """Conditions and generated columns."""
        return self._surrogate.schema.names

    def _find_draws(self) -> list[Draw]:
        """Make two events and note what is drawn."""
        draws: list[Draw] = []
        ranges = self._surrogate.conditions.ranges
        given = {n: torch.full((2,), ranges[n][0]).double() for n in self.condition_names}
        numbers = torch.arange(2)
        streams = [NotedRandom(PhiloxRandom(0, numbers, stream=s), s, draws) for s in (1, 0)]
        with torch.no_grad():
            condition = self._condition(self._typed(given), 2, streams[0])
            self._sample(2, condition, streams[1])
        return draws

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Make events.

        Parameters
        ----------
        *inputs : Tensor
            In the order of ``input_names``.

        Returns
        -------
        dict of str to Tensor
            The generated columns, and ``in_range`` of shape (n_events,): whether the conditions
            lie where the surrogate was trained.
        """
        named = dict(zip(self.input_names, inputs, strict=True))
        given = {n: named.pop(n) for n in self.condition_names}
        n_events = inputs[0].shape[0]
        rng = NoiseInputs(self.draws, named)
        typed = self._typed(given)
        condition = self._condition(typed, n_events, rng)
        x = self._sample(n_events, condition, rng)
        columns = decode_columns(self._surrogate.preprocessor, x, typed)
        weight = self._surrogate.schema.weight
        if weight is not None:
            mean = x.new_full((n_events,), self._surrogate.mean_weight, dtype=torch.float64)
            columns[weight] = mean.to(torch_type(self._surrogate.schema[weight].dtype))
        order = [n for n in self._surrogate.schema.names if n in columns]
        internal = [n for n in columns if n not in order]
        outputs = {n: columns[n] for n in (*order, *internal)}
        return outputs | {IN_RANGE: self._in_range(given, typed, inputs[0])}

    def _typed(self, given: Tensors) -> dict[str, Tensor]:
        schema = self._surrogate.schema
        return {n: values.to(torch_type(schema[n].dtype)) for n, values in given.items()}

    def _condition(self, typed: Tensors, n_events: int, rng: Random) -> Tensor:
        """Features of the conditions, (n_events, n_conditions), float32."""
        transforms = self._surrogate.preprocessor.transforms
        parts = [
            encode(transforms[n], typed[n].double(), typed, rng) for n in self.condition_names
        ]
        empty = torch.zeros((n_events, 0), dtype=torch.float64)
        return torch.cat([empty, *parts], dim=1).float()

    def _sample(self, n_events: int, condition: Tensor, rng: Random) -> Tensor:
        sample: Any = self.model.sample
        return sample(n_events, condition, rng=rng, **self.effort)

    def _in_range(self, given: Tensors, typed: Tensors, first: Tensor) -> Tensor:
        inside = torch.ones_like(first[..., 0] if first.ndim > 1 else first, dtype=torch.bool)
        for name in self.condition_names:
            value = typed[name].double()
            inside = inside & self._trained(name, value)
            if not typed[name].is_floating_point():
                inside = inside & (value == given[name])
        return inside

    def _trained(self, name: str, value: Tensor) -> Tensor:
        transform = self._surrogate.preprocessor.transforms[name]
        if isinstance(transform, Binary | Categories):
            return (value[:, None] == constants(transform.values)).any(dim=1)
        low, high = self._surrogate.conditions.ranges[name]
        return (value >= low) & (value <= high)

    def example_inputs(self, n_events: int, seed: int) -> dict[str, Array]:
        """Conditions from the trained range and the noise of a seed, by name."""
        rng = np.random.default_rng(seed)
        given = {n: self._example_condition(n, n_events, rng) for n in self.condition_names}
        return given | philox_noise(self.draws, seed, np.arange(n_events))

    def _example_condition(self, name: str, n_events: int, rng: np.random.Generator) -> Array:
        surrogate = self._surrogate
        transform = surrogate.preprocessor.transforms[name]
        if isinstance(transform, Binary | Categories):
            return rng.choice(np.array(transform.values), n_events)
        low, high = surrogate.conditions.ranges[name]
        values = rng.uniform(low, high, n_events)
        if np.dtype(surrogate.schema[name].dtype).kind in "iu":
            values = np.rint(values)
        typed = values.astype(surrogate.schema[name].dtype).astype(np.float64)
        return np.clip(typed, low, high)
