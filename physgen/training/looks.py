"""Looks into a model while it trains: when they are due, and without a trace in the training."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from physgen.random import GeneratorRandom, as_generator
from physgen.training.batches import Batches
from physgen.training.best import Best
from physgen.training.pools import Pools

__all__ = ["Looks", "untouched"]

# share of the training that may go into looks, and the ratio of the steps of two looks: they are
# closer where the best weights are looked for, whose average reaches about as far back
_SHARE, _RATIO, _SCORE_RATIO = 0.05, 1.2, 1.05
_MAX_ROWS = 1024


class Looks:
    """What the model shows of itself, seldom enough that the training hardly waits.

    A model without a method ``diagnose`` shows nothing. One with a method ``score`` has its
    averaged weights scored as well, if ``best`` is there to keep the best ones.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Batches | Pools,
        best: Best | None = None,
        *,
        by_step: bool = False,
    ) -> None:
        self.model: Any = model
        self.best = best if callable(getattr(model, "score", None)) else None
        rows = _shown(data.held_out if len(data.held_out) else data.rows, data.weight)
        self.x, self.condition = data.x[rows], data.condition[rows]
        # looks that decide about the weights must not hang on the clock
        decides = self.best is not None or getattr(model, "judges", False)
        self._by_step = by_step and decides
        self.next_step = 0
        self.last_cost = self.spent = 0.0

    @property
    def possible(self) -> bool:
        """Whether the model has anything to look at."""
        return self.best is not None or callable(getattr(self.model, "diagnose", None))

    def due(self, step: int, elapsed: float) -> bool:
        """Whether to look now: steps grow by a fifth, and looks take 5 % of the time at most.

        This look and the one in the end are expected to take as long as the last one did; the
        first is taken without knowing. In a training of so many steps, looks that decide about
        the weights (a score, or a model that judges) are due by the step alone.
        """
        in_time = self._by_step or self.spent + 2 * self.last_cost <= _SHARE * elapsed
        return self.possible and step >= self.next_step and in_time

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        names = ("next_step", "last_cost", "spent")
        return {name: getattr(self, name) for name in names}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Bring back what :meth:`state` gave."""
        vars(self).update(state)

    def clock(self, elapsed: float) -> float:
        """Seconds that count against a budget, with the look in the end, but 5 % looks at most."""
        trained = elapsed - self.spent
        return trained + min(self.spent + self.last_cost, _SHARE / (1 - _SHARE) * trained)

    def take(self, step: int) -> tuple[dict[str, float], list[str]]:
        """Numbers and warnings of the model; passes on the FloatingPointError that it may raise.

        Parameters
        ----------
        step : int
            Where the training stands.

        Raises
        ------
        FloatingPointError
            If the model says that it diverges.
        TypeError, ValueError
            If ``diagnose`` returns something else than numbers by name and warnings.
        """
        if not self.possible:
            return {}, []
        ratio = _RATIO if self.best is None else _SCORE_RATIO
        self.next_step = max(step + 1, math.ceil(ratio * step))
        started = time.monotonic()
        try:
            numbers, warnings = self._diagnosed()
            return numbers | self._scored(step), warnings
        finally:
            self.last_cost = time.monotonic() - started
            self.spent += self.last_cost

    def _diagnosed(self) -> tuple[dict[str, float], list[str]]:
        diagnose = getattr(self.model, "diagnose", None)
        if diagnose is None:
            return self._checked(({}, []))
        with untouched(self.model), torch.no_grad():
            return self._checked(diagnose(self.x, self.condition, rng=self._rng()))

    def _scored(self, step: int) -> dict[str, float]:
        """Score of the averaged weights, which are kept if they are the best."""
        if self.best is None:
            return {}
        with untouched(self.model), torch.no_grad():
            self.best.average.copy_to(self.model)
            score = self.model.score(self.x, self.condition, rng=self._rng())
            if score is None:
                return {}
            self.best.offer(float(score), step, self.model)
        return {"score": float(score)}

    def _rng(self) -> GeneratorRandom:
        # the same noise each time, so that the curve shows the model and not the draw
        return GeneratorRandom(as_generator(0, self.x.device))

    def _checked(self, shown: Any) -> tuple[dict[str, float], list[str]]:
        try:
            numbers, warnings = shown
            numbers = {str(name): float(value) for name, value in numbers.items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise TypeError(
                f"{type(self.model).__name__}.diagnose must return numbers by name and a list of "
                f"warnings, such as ({{'energy': 1.5}}, []), got {shown!r}"
            ) from error
        if "step" in numbers:
            raise ValueError(
                f"{type(self.model).__name__}.diagnose names a number 'step', as the abscissa is "
                "named; choose another name"
            )
        return numbers, [warnings] if isinstance(warnings, str) else list(warnings)


def _shown(rows: Tensor, weight: Tensor | None) -> Tensor:
    """Rows to look at: the first ones, or in proportion to their weights where none is negative.

    Drawn at equal distances in the sum of the weights; the rows come in random order, so no noise
    is needed.
    """
    if weight is None or (weight[rows] < 0).any() or not (weight[rows] > 0).any():
        return rows[:_MAX_ROWS]
    total = weight[rows].double().cumsum(0)
    n = min(len(rows), _MAX_ROWS)
    places = (torch.arange(n, device=total.device) + 0.5) / n * total[-1]
    return rows[torch.searchsorted(total, places)]


@contextlib.contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; parameters, buffers and torch's global generator are then as before."""
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    devices = {t.device for t in tensors.values() if t.device.type == "cuda"}
    model.eval()
    try:
        with torch.random.fork_rng(devices=list(devices)):
            yield
    finally:
        model.train()
        with torch.no_grad():
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
                if name in before:
                    tensor.copy_(before[name])
