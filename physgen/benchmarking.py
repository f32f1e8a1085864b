"""Which model for these events, and at which budget: every family on the user's own data."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from physgen.estimates import Estimate
from physgen.events import Events, require_events
from physgen.files.atomic import atomic_path
from physgen.files.cuts import Cut
from physgen.metrics.classifier import classifier_test
from physgen.models import FAMILIES
from physgen.random import PhiloxRandom, Rng, as_seed, derived_seed
from physgen.report.text import aligned
from physgen.storage import versions
from physgen.summaries import joint_columns, summarize
from physgen.surrogate import Surrogate
from physgen.training import TrainingConfig, TrainingError, threads
from physgen.training.config import seconds

__all__ = ["BATCHES", "Benchmark", "Trial", "benchmark", "milliseconds"]

BATCHES = (1, 100, 10_000)
_PATIENCE = 20.0  # seconds, above which a batch is not timed


@dataclass(frozen=True)
class Trial:
    """One family, trained for one budget.

    Attributes
    ----------
    family : str
    budget : float
        Wall seconds asked for.
    training : float
        CPU seconds of the training.
    auc : Estimate or None
        Of a classifier between test events and as many generated ones, beside what the truth
        scores against itself; None if the family cannot learn these events.
    js : Estimate or None
        Lower bound on the JS divergence that this classifier proves, in bits.
    interpolated : Estimate or None
        AUC where no event was in the training, if events were left out.
    milliseconds : dict of int to float
        CPU time per event in batches of this size; without sizes that would take too long.
    problem : str
        Why it failed, in the words of the family.
    """

    family: str
    budget: float
    training: float = 0.0
    auc: Estimate | None = None
    js: Estimate | None = None
    interpolated: Estimate | None = None
    milliseconds: Mapping[int, float] = dataclasses.field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Benchmark:
    """What came out: print it, or save it as .json, .txt or a figure.

    Attributes
    ----------
    trials : tuple of Trial
    n_train, n_test : int
        Events to learn from, and events of each side of a comparison.
    left_out : str
        Cut of the events that no training has seen.
    made_with : dict of str to str
        Versions of the libraries.
    """

    trials: tuple[Trial, ...]
    n_train: int
    n_test: int
    left_out: str
    made_with: Mapping[str, str]

    @property
    def advice(self) -> tuple[str, ...]:
        """Which family to use at which budget, one sentence per budget."""
        return tuple(
            _advice(budget, [t for t in self.trials if t.budget == budget])
            for budget in sorted({t.budget for t in self.trials})
        )

    def __str__(self) -> str:
        titles = ["family", "budget", "training [CPU]", "AUC", "AUC floor", "JS >= [bits]"]
        if self.left_out:
            titles.append("AUC left out")
        titles += [f"ms/event, {n:,}" for n in BATCHES]
        rows = [titles, *(self._row(t) for t in self.trials)]
        head = (
            f"{self.n_train:,} events to learn from; classifier on {self.n_test:,} against "
            f"{self.n_test:,}"
        )
        if self.left_out:
            head += f"; left out of the training: {self.left_out}"
        problems = [f"{t.family}: {t.problem}" for t in self.trials if t.problem]
        return "\n".join([head, "", *aligned(rows), "", *self.advice, *problems])

    def _row(self, trial: Trial) -> list[str]:
        cells = [trial.family, f"{trial.budget:g} s", f"{trial.training:.0f} s"]
        if trial.auc is None or trial.js is None:
            return [*cells, *["-"] * (3 + bool(self.left_out) + len(BATCHES))]
        cells += [
            f"{trial.auc.value:.3f} ± {trial.auc.std_error or 0:.3f}",
            f"{trial.auc.floor:.3f}",
            f"{max(trial.js.value, 0):.3f}",
        ]
        if self.left_out:
            there = trial.interpolated
            cells.append("" if there is None else f"{there.value:.3f}")
        times = [trial.milliseconds.get(n) for n in BATCHES]
        return [*cells, *("" if t is None else f"{t:.3g}" for t in times)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts, for JSON."""
        return dataclasses.asdict(self) | {"advice": list(self.advice)}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .json, .txt, or the plot of quality against time (.png, .pdf, .svg).

        Raises
        ------
        ValueError
            If the suffix is none of these.
        """
        path = Path(path)
        with atomic_path(path) as temporary:
            temporary.write_bytes(self._as(check_target(path)))

    def _as(self, suffix: str) -> bytes:
        if suffix == ".json":
            return (json.dumps(self.to_dict(), indent=1) + "\n").encode()
        if suffix == ".txt":
            return (str(self) + "\n").encode()
        from physgen.plotting.quality import quality_figure

        drawn = io.BytesIO()
        quality_figure(self).savefig(drawn, format=suffix[1:])
        return drawn.getvalue()


def check_target(path: Path) -> str:
    """Return the suffix of a file to write, if it is one that a benchmark knows."""
    known = (".json", ".txt", ".png", ".pdf", ".svg")
    if path.suffix not in known:
        raise ValueError(f"{path}: a benchmark is written as {', '.join(known)}")
    return path.suffix


def benchmark(
    events: Events,
    families: Sequence[str] | Mapping[str, Any] = ("diffusion", "gan", "vae"),
    *,
    budgets: Sequence[str | float] = ("60s",),
    fields: Sequence[str] | None = None,
    conditions: Sequence[str] | None = None,
    leave_out: str = "",
    n_test: int = 10_000,
    training: TrainingConfig | None = None,
    rng: Rng,
    progress: Callable[[str], None] | None = None,
) -> Benchmark:
    """Train every family for every budget, and judge it on events that it has not seen.

    Parameters
    ----------
    events : Events
    families : sequence of str, or mapping of str to settings
        Names of families with their default settings, or settings of your own by any name.
    budgets : sequence of str or float, default ("60s",)
        Wall time of a training each, ``"90s"``, ``"5m"``.
    fields, conditions
        As for :meth:`physgen.Surrogate.fit`.
    leave_out : str, optional
        A cut, such as ``"incident_energy > 8000 and incident_energy < 16000"``: these events are
        kept out of all trainings, and a second AUC says how the surrogate does there. It shows
        whether a surrogate interpolates between the conditions it has seen.
    n_test : int, default 10000
        Events kept for the test; at most a fifth of all.
    training : TrainingConfig, optional
        Batch size, device and so on.
    rng : int or torch.Generator
        Seed of the split, the trainings and the classifiers.
    progress : callable, optional
        Called with a line before each training.

    Returns
    -------
    Benchmark

    Raises
    ------
    ValueError
        If a family is unknown, or a cut leaves too few events.
    """
    require_events("what is learned from", events)
    chosen = _settings(families)
    limits = [seconds(budget) for budget in budgets]
    seed = as_seed(rng)
    inside, left = _left_out(events, leave_out)
    n_test = min(n_test, len(inside) // 5)
    if n_test < 100:
        raise ValueError(f"{len(inside)} events are too few for a test; give at least 500")
    test, train = inside.split(n_test / len(inside), rng=derived_seed(seed, 0))
    trials = []
    for limit in limits:
        for name, settings in chosen.items():
            if progress is not None:
                progress(f"{name}, {limit:g} s")
            config = dataclasses.replace(
                training or TrainingConfig(), budget=limit, epochs=None, steps=None
            )
            one = _Try(train, test, left, fields, conditions, config, seed)
            trials.append(one.run(name, settings, limit))
    return Benchmark(tuple(trials), len(train), n_test, leave_out, versions())


def _settings(families: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(families, Mapping):
        return dict(families)
    for name in families:
        if name not in FAMILIES:
            raise ValueError(f"unknown family {name!r} (known: {', '.join(FAMILIES)})")
    return {name: FAMILIES[name]() for name in families}


def _left_out(events: Events, cut: str) -> tuple[Events, Events | None]:
    if not cut:
        return events, None
    where = np.asarray(Cut(cut, events.schema.names)(events.to_dict()))
    n_left = int(where.sum())
    if n_left < 100 or len(events) - n_left < 500:
        raise ValueError(
            f"the cut {cut!r} takes {n_left} of {len(events)} events out; at least 100 are needed "
            "there, and 500 to learn from"
        )
    return events[~where], events[where]


@dataclass(frozen=True)
class _Try:
    """One training and its judgment."""

    train: Events
    test: Events
    left: Events | None
    fields: Sequence[str] | None
    conditions: Sequence[str] | None
    config: TrainingConfig
    seed: int

    def run(self, family: str, settings: Any, budget: float) -> Trial:
        start = time.process_time()
        try:
            surrogate = Surrogate.fit(
                self.train, settings, fields=self.fields, conditions=self.conditions,
                training=self.config, rng=derived_seed(self.seed, 1),
            )  # fmt: skip
        except (ValueError, TrainingError) as error:
            return Trial(family, budget, time.process_time() - start, problem=str(error))
        trained = time.process_time() - start
        auc, js = self._judge(surrogate, self.test)
        there = None
        if self.left is not None:
            there, _ = self._judge(surrogate, self.left)
        times = milliseconds(surrogate, self.test)
        return Trial(family, budget, trained, auc, js, there, times)

    def _judge(self, surrogate: Surrogate, truth: Events) -> tuple[Estimate, Estimate]:
        truth = truth[[n for n in truth.schema.names if n in surrogate.schema]]
        names = surrogate.schema.with_role("condition")
        given = {n: truth[n] for n in names}
        made = surrogate(len(truth), given, rng=derived_seed(self.seed, 2), extrapolate=True)
        quantities, _ = summarize(truth.replace_schema(made.schema), made)
        _, x, y = joint_columns([q for q in quantities if not q.is_constant])
        weights = None if truth.schema.weight is None else (truth.weights, made.weights)
        found = classifier_test(
            x, y, weights=weights or (None, None), rng=derived_seed(self.seed, 3)
        )
        return found.auc, found.js


def milliseconds(surrogate: Surrogate, events: Events) -> dict[int, float]:
    """CPU milliseconds per event in one batch of each size of :data:`BATCHES`.

    Model and inverse transforms, without the alignment of :meth:`Surrogate.__call__` to blocks.
    A size whose batch would take more than 20 s is left out.

    Parameters
    ----------
    surrogate : Surrogate
    events : Events
        Whose conditions are taken in turn.
    """
    names = surrogate.schema.with_role("condition")
    found: dict[int, float] = {}
    for n in BATCHES:
        if found and min(found.values()) * n / 1000 > _PATIENCE:
            break
        rows = np.arange(n) % len(events)
        given, _ = surrogate.conditions.check(
            n, {name: events[name][rows] for name in names}, extrapolate=True
        )
        found[n] = _time_of(surrogate, given, n)
    return found


def _time_of(surrogate: Surrogate, given: Mapping[str, Any], n: int) -> float:
    model: Any = surrogate.model
    device = next(model.parameters()).device

    def once() -> None:
        rng = PhiloxRandom(0, torch.arange(n, device=device))
        condition = surrogate.preprocessor.condition(given, n, rng=rng).to(device)
        surrogate.preprocessor.inverse(model.sample(n, condition, rng=rng), given)

    with threads(1), torch.no_grad():
        if n < BATCHES[-1]:
            once()  # the first call loads and allocates
        start, n_runs = time.process_time(), 0
        while n_runs == 0 or (n_runs < 20 and time.process_time() - start < 1.0):
            once()
            n_runs += 1
    return 1000 * (time.process_time() - start) / n_runs / n


def _advice(budget: float, trials: list[Trial]) -> str:
    """The best family; of several that are equal within twice the error, the fastest."""
    done = [(t, t.auc) for t in trials if t.auc is not None]
    if not done:
        return f"In {budget:g} s no family learned these events."

    def speed(pair: tuple[Trial, Estimate]) -> float:
        return min(pair[0].milliseconds.values(), default=np.inf)

    lowest = min((auc for _, auc in done), key=lambda auc: auc.value)
    equal = [p for p in done if p[1].value <= lowest.value + 2 * math.sqrt(2) * lowest.std_error]
    best = min(equal, key=speed)
    text = f"In {budget:g} s of training use {best[0].family} (AUC {best[1].value:.3f}"
    if len(equal) > 1:
        others = " and ".join(t.family for t, _ in equal if t is not best[0])
        text += f", within the error of {others}, and faster"
    faster = [p for p in done if speed(p) < speed(best) / 2]
    if not faster:
        return f"{text})."
    second = min(faster, key=lambda p: p[1].value)
    return (
        f"{text}); where it is too slow, {second[0].family} makes events "
        f"{speed(best) / speed(second):.0f} times as fast (AUC {second[1].value:.3f})."
    )
