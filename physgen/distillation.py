r"""Students that make in a few network calls what a diffusion model makes in dozens.

The probability-flow equation carries every noise to one event. A student has a few noise levels
:math:`\sigma_0 > \dots > \sigma_{K-1}` and takes one Euler step from each to the next, so it
learns where its teacher arrives: with y the teacher's state at one level and y' at the next,
:math:`r = \sigma_{k+1}/\sigma_k`, the student's step ends at y' if

.. math:: D(y; \sigma_k) = \frac{y' - r\, y}{1 - r}

and the least mean square error of that is what it is trained for. The target has no noise, so that
nothing is blurred but by the network's limits. Luhman and Luhman, arXiv:2101.02388 (K = 1); Yan
et al., arXiv:2405.07510 (piecewise).
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from physgen.checks import whole_number
from physgen.events import Events
from physgen.fitting import build, with_budget
from physgen.models.diffusion import Diffusion, DiffusionModel, Grid
from physgen.models.diffusion.model import diffusion_stages
from physgen.models.diffusion.samplers import integrate
from physgen.networks.voxel_transformer import roll_and_flip
from physgen.random import PhiloxRandom, Random, Rng, as_generator, as_seed
from physgen.surrogate import Surrogate
from physgen.training import Progress, TrainingConfig, threads, train

__all__ = ["distill"]

_BLOCK = 512
_ADVICE = "a GAN or VAE makes an event in one call as it is"


def distill(
    teacher: Surrogate,
    n_steps: int = 2,
    *,
    conditions: Mapping[str, Any] | Events | None = None,
    n_events: int = 20_000,
    teacher_steps: int | None = None,
    student: Diffusion | None = None,
    epochs: float | None = None,
    steps: int | None = None,
    budget: str | float | None = None,
    training: TrainingConfig | None = None,
    rng: Rng,
    progress: Callable[[Progress], None] | None = None,
) -> Surrogate:
    """Train a student that needs ``n_steps`` network calls per event.

    Parameters
    ----------
    teacher : Surrogate
        Of a diffusion model.
    n_steps : int, default 2
        Network calls of the student for an event (for each stage, where there are several).
    conditions : Events or mapping of str to array or number, optional
        Conditions of the events that the teacher makes, ``n_events`` of each, as for a call of a
        surrogate: those of the training file, or what the student will be asked for. From
        ``Events`` with another number, rows are taken in turn.
    n_events : int, default 20000
        Events that the teacher makes for it, before the training.
    teacher_steps : int, optional
        Noise levels of the teacher, by default those of its settings; it uses Heun's method.
    student : Diffusion, optional
        Another (smaller) network, which starts from random weights; by default a copy of the
        teacher's.
    epochs, steps, budget, training, progress
        As for :meth:`physgen.Surrogate.fit`; without any of the three 5000 steps.
    rng : int or torch.Generator
        Seed of the teacher's events and of the training.

    Returns
    -------
    Surrogate
        Its ``info["teacher"]`` says where it comes from. Compare it with the truth and with its
        teacher before use: what it loses is measured, not known.

    Raises
    ------
    TypeError
        If the teacher is no diffusion model.
    ConditionError
        If conditions are missing or outside the trained range.

    Examples
    --------
    >>> import numpy as np, physgen as pg
    >>> truth = pg.Events.from_dict({"x": np.random.default_rng(0).normal(size=500)})
    >>> teacher = pg.Surrogate.fit(truth, pg.Diffusion(n_hidden=16), steps=20, rng=1)
    >>> student = distill(teacher, 1, n_events=300, steps=20, rng=2)
    >>> len(student(10, rng=3))
    10
    """
    models = diffusion_stages(teacher.model, _ADVICE)
    n_steps = whole_number("n_steps", n_steps, 1)
    n_events = whole_number("n_events", n_events, 10)
    config = with_budget(training or TrainingConfig(), epochs, steps, budget)
    seed = as_seed(rng)
    levels = models[0].levels(teacher_steps, torch.device("cpu"))
    grid = _grid(levels, n_steps)
    own = student or models[0].settings
    like = own.path.like if isinstance(own.path, Grid) else own.path
    settings = dataclasses.replace(
        own, path=Grid(sigmas=grid, like=like), sampler="euler", n_sampling_steps=n_steps
    )
    if isinstance(conditions, Events):
        conditions = _in_turn(conditions, n_events)
    given, _ = teacher.conditions.check(n_events, conditions, extrapolate=False)
    with threads(1):
        paths, condition = _record(teacher, models, given, levels, (*grid, 0.0), seed, n_events)
    module, _ = build(settings, teacher.preprocessor.spec, seed)
    _copy_spread(models, diffusion_stages(module, _ADVICE))
    if student is None:
        _copy_weights(models, diffusion_stages(module, _ADVICE))
    pupil = _Pupil(module, (*grid, 0.0))
    history = train(
        pupil, paths, condition, config=config, rng=as_generator(seed), progress=progress
    )
    info = {
        **teacher.info,
        "training": dataclasses.asdict(config),
        "seed": seed,
        "teacher": {"n_events": n_events, "n_steps": len(levels) - 1},
    }
    return Surrogate(
        preprocessor=copy.deepcopy(teacher.preprocessor), model=module, settings=settings,
        ranges=teacher.conditions.ranges, mean_weight=teacher.mean_weight, history=history,
        info=info,
    )  # fmt: skip


def _grid(levels: Tensor, n_steps: int) -> tuple[float, ...]:
    """Levels of the teacher nearest to equal angles, tan a = sigma, the largest first."""
    if n_steps > len(levels) - 1:
        raise ValueError(
            f"the teacher has {len(levels) - 1} noise levels, and a student of {n_steps} steps "
            "would need more"
        )
    positive = levels[:-1].double()
    wanted = [math.pi / 2 * (1 - k / n_steps) for k in range(1, n_steps)]
    chosen = [0] + [int((positive.atan() - a).abs().argmin()) for a in wanted]
    for k in range(1, n_steps):  # distinct levels also where the teacher has few
        chosen[k] = max(chosen[k], chosen[k - 1] + 1)
    return tuple(float(positive[k]) for k in chosen)


def _in_turn(events: Events, n_events: int) -> Events:
    return events[torch.arange(n_events).numpy() % len(events)]


def _record(
    teacher: Surrogate,
    models: list[DiffusionModel],
    given: Mapping[str, Any],
    levels: Tensor,
    grid: tuple[float, ...],
    seed: int,
    n_events: int,
) -> tuple[Tensor, Tensor]:
    """The teacher's states at the levels of the grid, stage by stage, and the conditions."""
    device = next(teacher.model.parameters()).device
    noise = PhiloxRandom(seed, torch.arange(n_events), stream=1)
    condition = teacher.preprocessor.condition(given, n_events, rng=noise)
    paths = []
    for start in range(0, n_events, _BLOCK):
        stop = min(start + _BLOCK, n_events)
        rng = PhiloxRandom(seed, torch.arange(start, stop, device=device))
        known = condition[start:stop].to(device)
        states = []
        for model in models:
            path = _path(model, known, levels.to(device, torch.float32), grid, rng)
            states.append(torch.cat(path, dim=1))
            known = torch.cat((known, path[-1]), dim=1)
        paths.append(torch.cat(states, dim=1).cpu())
    return torch.cat(paths), condition


@torch.no_grad()
def _path(
    model: DiffusionModel, condition: Tensor, levels: Tensor, grid: tuple[float, ...], rng: Random
) -> list[Tensor]:
    """States of one stage at the levels of the grid, the last of them the event."""
    mask = model.spec.mask(condition)
    y = rng.normal(len(condition), model.spec.n_features) * levels[0]
    y = y if mask is None else y * mask
    denoise, path = model.denoiser(condition), [y]
    for high, low in itertools.pairwise(grid):
        part = levels[(levels <= high * (1 + 1e-6)) & (levels >= low * (1 - 1e-6))]
        y = integrate("heun", denoise, y, part, spread=model.spread, rng=rng)
        path.append(y)
    return path


def _copy_spread(teachers: list[DiffusionModel], students: list[DiffusionModel]) -> None:
    for teacher, student in zip(teachers, students, strict=True):
        student.sigma_data.copy_(teacher.sigma_data)


def _copy_weights(teachers: list[DiffusionModel], students: list[DiffusionModel]) -> None:
    for teacher, student in zip(teachers, students, strict=True):
        student.load_state_dict(teacher.state_dict())


class _Pupil(nn.Module):
    """What the training loop trains: the student, on the states of its teacher."""

    def __init__(self, module: nn.Module, grid: tuple[float, ...]) -> None:
        super().__init__()
        self.module, self.grid = module, grid
        self._models = diffusion_stages(module, _ADVICE)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player per stage."""
        return {
            f"{k}: student": next(iter(model.players().values()))
            for k, model in enumerate(self._models, 1)
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Mean square error of the network on one step of each event's path."""
        stage = int(player.split(":")[0]) - 1
        known, start = condition, 0
        for model in self._models[:stage]:
            start += model.spec.n_features * len(self.grid)
            known = torch.cat((known, x[:, start - model.spec.n_features : start]), dim=1)
        model = self._models[stage]
        path = x[:, start : start + model.spec.n_features * len(self.grid)]
        return _step_loss(model, path.view(len(x), len(self.grid), -1), known, self.grid, rng)


def _step_loss(
    model: DiffusionModel, path: Tensor, condition: Tensor, grid: tuple[float, ...], rng: Random
) -> Tensor:
    n, n_steps = len(path), len(grid) - 1
    which = (rng.uniform(n) * n_steps).long().clamp_max(n_steps - 1)
    rows = torch.arange(n, device=path.device)
    pair = torch.stack((path[rows, which], path[rows, which + 1]), dim=1)
    spec = model.spec
    if model.settings.symmetric and any(spec.periodic):
        # the same turn for both ends of the step
        pair = roll_and_flip(pair.flatten(1), (2, *spec.shape), (False, *spec.periodic), rng)
    y, then = pair.view(n, 2, -1).unbind(1)
    sigmas = torch.tensor(grid, device=path.device)
    sigma = sigmas[which][:, None]
    ratio = sigmas[which + 1][:, None] / sigma
    square = model.step_error(y, (then - ratio * y) / (1 - ratio), sigma, condition).square()
    mask = spec.mask(condition)
    return square.mean(1) if mask is None else (square * mask).sum(1) / mask.sum(1).clamp_min(1)
