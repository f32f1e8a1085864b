"""Settings of a training."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["TrainingConfig", "seconds"]

_Keep = Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of the training loop, the same for every model.

    Parameters
    ----------
    epochs : float, optional
        Budget in passes over the events. At most one of the three budgets is given.
    steps : int, optional
        Budget in steps.
    budget : str or float, optional
        Budget in wall seconds: ``60``, ``"90s"``, ``"5m"``, ``"2h"``. Looks into the model take up
        to 5 % of it; the first and the last one, if they are slower than that, come on top.
    batch_size : int, default 512
        Events per step.
    warmup_steps : int, default 200
        Steps in which the learning rate rises from zero (at most a tenth of a budget in steps or
        epochs).
    decay : float, default 1.0
        Last fraction of the budget over which the rate falls to zero as a cosine; 0 for none.
    gradient_clip : float, default 1.0
        Largest norm of a player's gradient, in units of the model's ``gradient_scale`` (1 unless
        it has one); 0 for no clipping.
    averaging : float, default 0.05
        Width of the average of the weights, as a fraction of the training so far (power-law
        average, Karras et al., arXiv:2312.02696); 0 for the last weights.
    keep : {"best", "last"}, default "best"
        Which averaged weights the model has in the end, where it scores itself (GAN): those with
        the lowest score of the looks along the training, or the last ones. A model without a
        score has the last ones.
    validation_fraction : float, default 0.05
        Fraction of the events held out for the validation loss.
    device : str, default "cpu"
        Where the events and the model live.
    n_threads : int, default 1
        Threads of torch on the CPU while training; 0 leaves torch's setting. Small networks gain
        little from more, and on a busy machine the threads wait for each other.
    """

    epochs: float | None = None
    steps: int | None = None
    budget: str | float | None = None
    batch_size: int = 512
    warmup_steps: int = 200
    decay: float = 1.0
    gradient_clip: float = 1.0
    averaging: float = 0.05
    keep: _Keep = "best"
    validation_fraction: float = 0.05
    device: str = "cpu"
    n_threads: int = 1

    def __post_init__(self) -> None:
        given = [n for n in ("epochs", "steps", "budget") if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(
                f"give one budget: epochs, steps or budget (seconds); got {' and '.join(given)}"
            )
        for name in given:
            limit = getattr(self, name)
            number = seconds(limit) if name == "budget" else limit
            if isinstance(number, str):
                raise TypeError(f"{name} must be a number, got {number!r}")
            if not 0 < number < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {limit!r}")
        if self.steps is not None and self.steps != int(self.steps):
            raise ValueError(f"steps must be an integer, got {self.steps!r}")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be in [0, 1), got {self.validation_fraction}"
            )
        if self.keep not in get_args(_Keep):
            raise ValueError(f"keep must be 'best' or 'last', got {self.keep!r}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        # the mean of all weights alike has a width of 12^(-1/2) = 0.289
        for name, high in (("decay", 1.0), ("averaging", 0.288)):
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in [0, {high:g}], got {getattr(self, name)}")
        for name in ("warmup_steps", "gradient_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    @property
    def has_budget(self) -> bool:
        """Whether it says how long to train."""
        return not (self.epochs is None and self.steps is None and self.budget is None)


def seconds(budget: str | float) -> float:
    """Seconds of a budget such as 90, "90", "90s", "1.5m" or "2h".

    Examples
    --------
    >>> seconds("1.5m")
    90.0
    """
    if isinstance(budget, int | float):
        return float(budget)
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(s|sec|m|min|h)?\s*", budget)
    if not found:
        raise ValueError(
            f"cannot read the budget {budget!r}; write for example '90s', '5m' or '2h'"
        )
    return float(found[1]) * {"s": 1, "m": 60, "h": 3600}[(found[2] or "s")[0]]
