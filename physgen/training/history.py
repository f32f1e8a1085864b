"""What a training reports: while it runs, in the end, and when it cannot go on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["History", "Progress", "TrainingError"]


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what was tried.

    Attributes
    ----------
    history : History or None
        What was seen up to the last good state, whose weights the model holds; None where the
        training never began.
    surrogate : Surrogate or None
        The surrogate of that state, where ``Surrogate.fit`` was training one.
    """

    surrogate: Any = None

    def __init__(self, message: str, history: History | None = None) -> None:
        super().__init__(message)
        self.history = history


@dataclass(frozen=True)
class Progress:
    """Where a training stands; handed to the ``progress`` function a few times a second.

    ``diagnostics`` holds what the last look into the model showed; it is empty before the first.
    """

    step: int
    fraction: float
    loss: dict[str, float]
    events_per_second: float
    seconds_left: float
    diagnostics: dict[str, float] = field(default_factory=dict)


@dataclass
class History:
    """Losses along a training, one entry per logging interval, and what the model showed.

    ``steps`` counts steps; ``losses`` and ``validation`` map a player to its mean loss on the
    training events of the interval and on the held-out events. ``diagnostics`` maps the names of
    the model's own numbers (:meth:`physgen.models.base.GenerativeModel.diagnose`) to their values
    at the steps ``diagnostics["step"]``; NaN stands where a name was missing. ``messages`` are the
    warnings of the model, once each, and the returns to an earlier state. ``kept_step`` is the
    step whose averaged weights the model has, where these are not the last ones
    (``TrainingConfig.keep``).

    Examples
    --------
    >>> history = History()
    >>> history.add_look(100, {"log-likelihood [nat]": -9.5})
    >>> history.add_look(200, {"log-likelihood [nat]": -7.0, "tau [steps]": 3.5})
    >>> history.diagnostics["step"], history.diagnostics["tau [steps]"]
    ([100, 200], [nan, 3.5])
    >>> history.last_look
    {'log-likelihood [nat]': -7.0, 'tau [steps]': 3.5}
    """

    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    losses: dict[str, list[float]] = field(default_factory=dict)
    validation: dict[str, list[float]] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    n_events_seen: int = 0
    diagnostics: dict[str, list[float]] = field(default_factory=dict)
    kept_step: int | None = None

    @property
    def last_look(self) -> dict[str, float]:
        """What the model showed at the last look, without the step."""
        return {n: values[-1] for n, values in self.diagnostics.items() if n != "step"}

    def add_look(self, step: int, numbers: Mapping[str, float]) -> None:
        """Append what the model showed at this step; NaN for what it did not show.

        A second look at the same step takes the place of the first.
        """
        steps = self.diagnostics.get("step", [])
        if not numbers and not steps:
            return
        if steps and steps[-1] == step:
            for values in self.diagnostics.values():
                values.pop()
        before = len(steps)
        row = {"step": step, **numbers}
        for name in row:
            self.diagnostics.setdefault(name, [math.nan] * before)
        for name, values in self.diagnostics.items():
            values.append(row.get(name, math.nan))

    def go_back(self, step: int) -> None:
        """Forget the curves beyond this step; messages and events seen stay."""
        n_logs = sum(s <= step for s in self.steps)
        n_looks = sum(s <= step for s in self.diagnostics.get("step", []))
        del self.steps[n_logs:], self.seconds[n_logs:]
        for values in [*self.losses.values(), *self.validation.values()]:
            del values[n_logs:]
        for values in self.diagnostics.values():
            del values[n_looks:]

    def describe(self) -> str:
        """Say in a few lines what the last look showed, and what was reported; empty if nothing.

        Examples
        --------
        >>> history = History(messages=["at step 100: the chains no longer mix"])
        >>> history.add_look(200, {"log_z": 4.25, "log_z_error": 0.03, "r_hat": 1.013})
        >>> print(history.describe())
        the model at step 200:
          log_z  4.25 ± 0.03
          r_hat  1.013
        reported along the training:
          at step 100: the chains no longer mix
        """
        lines = []
        if shown := self.last_look:
            numbers = {name: f"{value:.4g}" for name, value in shown.items()}
            for name in shown:
                if numbers.pop(f"{name}_error", None) and shown[f"{name}_error"] > 0:
                    numbers[name] += f" ± {shown[f'{name}_error']:.2g}"
            wide = max(map(len, numbers))
            lines = [f"the model at step {self.diagnostics['step'][-1]:,}:"]
            lines += [f"  {name:{wide}}  {number}" for name, number in numbers.items()]
        if self.kept_step is not None:
            lines.append(
                f"kept are the averaged weights of step {self.kept_step:,}, the best ones"
            )
        if self.messages:
            lines += ["reported along the training:", *(f"  {m}" for m in self.messages)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> History:
        """Rebuild from :meth:`to_dict`, also after JSON, which has null for NaN.

        Histories that were stored before there were diagnostics have none.
        """
        curves = {
            kind: {
                name: [math.nan if value is None else value for value in values]
                for name, values in stored.get(kind, {}).items()
            }
            for kind in ("losses", "validation", "diagnostics")
        }
        return cls(**{**stored, **curves})
