"""The training loop."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from physgen.random import GeneratorRandom, Random, Rng, as_generator
from physgen.training.average import Average
from physgen.training.batches import Batches
from physgen.training.config import History, Progress, TrainingConfig, TrainingError, seconds

__all__ = ["optimizers_of", "threads", "train"]

logger = logging.getLogger(__name__)


def train(
    model: nn.Module,
    x: Tensor,
    condition: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    config: TrainingConfig,
    rng: Rng,
    progress: Callable[[Progress], None] | None = None,
) -> History:
    """Train a model in place; its weights are the averaged ones in the end.

    Parameters
    ----------
    model : nn.Module
        With ``loss`` (and ``players``; without it Adam with rate 1e-3 trains all parameters).
    x : Tensor of shape (n_events, n_features)
    condition : Tensor of shape (n_events, n_conditions), optional
    weight : Tensor of shape (n_events,), optional
        Event weights, any sign; normalized here to a mean of 1.
    config : TrainingConfig
    rng : int or torch.Generator
        Seed of batches and noise.
    progress : callable, optional
        Called with a :class:`Progress` about five times a second.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        If the loss stays non-finite after five returns to a good state.
    """
    if not config.has_budget:
        raise ValueError("say how long to train: epochs=, steps= or budget= (e.g. '60s')")
    if condition is None:
        condition = x.new_zeros(len(x), 0)
    generator = as_generator(rng, config.device)
    data = Batches(x, condition, _normalized(weight, len(x)), config, generator)
    with threads(config.n_threads):
        return _Loop(model.to(config.device), data, config, generator, progress).run()


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Let torch use n threads inside (0: as it is), and as many as before afterwards."""
    before = torch.get_num_threads()
    if n:
        torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _normalized(weight: Tensor | None, n_events: int) -> Tensor | None:
    if weight is None:
        return None
    total = weight.sum()
    if not total > 0:
        raise ValueError(
            f"the event weights add up to {float(total):g}; their sum must be positive"
        )
    return weight.to(torch.float32) * (n_events / total)


class _Loop:
    """State of one training."""

    def __init__(
        self,
        model: nn.Module,
        data: Batches,
        config: TrainingConfig,
        generator: torch.Generator,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        # any nn.Module with a loss of this signature is welcome, so its type says no more
        self.model: Any = model
        self.data, self.config = data, config
        self.rng: Random = GeneratorRandom(generator)
        self.optimizers = optimizers_of(model)
        self.base_rates = {
            player: [group["lr"] for group in optimizer.param_groups]
            for player, optimizer in self.optimizers.items()
        }
        self.rate_scale = 1.0
        self.average = Average(model, config.averaging)
        self.n_steps = self._n_steps()
        self.deadline = None if config.budget is None else seconds(config.budget)
        self.history = History()
        self.step = 0
        self.n_rescues = 0
        self.sums = dict.fromkeys(self.optimizers, torch.zeros((), device=config.device))
        self.n_summed = 0
        self.progress = progress

    def _n_steps(self) -> int | None:
        if self.config.steps is not None:
            return int(self.config.steps)
        if self.config.epochs is not None:
            return max(1, round(self.config.epochs * self.data.steps_per_epoch))
        return None

    def run(self) -> History:
        self.model.train()
        self.started = self.last_log = self.last_progress = time.monotonic()
        self._keep_good_state()
        fraction = 0.0
        while fraction < 1.0:
            self._set_rates(fraction)
            self._one_step()
            self.step += 1
            fraction = self._fraction()
            if not self._look_around(over=fraction >= 1.0):
                fraction = self._fraction()  # back at an earlier step
        self.average.copy_to(self.model)
        self.model.eval()
        return self.history

    def _fraction(self) -> float:
        if self.n_steps is not None:
            return self.step / self.n_steps
        return (time.monotonic() - self.started) / (self.deadline or 1.0)

    def _set_rates(self, fraction: float) -> None:
        warmup = self.config.warmup_steps
        if self.n_steps is not None:
            warmup = min(warmup, self.n_steps // 10)
        factor = min(1.0, (self.step + 1) / (warmup + 1))
        if self.config.decay > 0 and fraction > 1 - self.config.decay:
            done = (fraction - 1 + self.config.decay) / self.config.decay
            factor *= 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        for player, optimizer in self.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.base_rates[player], strict=True):
                group["lr"] = rate * factor * self.rate_scale

    def _one_step(self) -> None:
        rows = self.data.next_batch()
        for player, optimizer in self.optimizers.items():
            loss = self._mean_loss(rows, player, self.rng)
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            optimizer.zero_grad()
            loss.backward(inputs=parameters)
            if self.config.gradient_clip > 0:
                nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip)
            optimizer.step()
            # summed on the device: reading the number would stop a GPU at every step
            self.sums[player] = self.sums[player] + loss.detach()
        self.average.update(self.model, self.step + 1)
        self.n_summed += 1
        self.history.n_events_seen += len(rows)

    def _mean_loss(self, rows: Tensor, player: str, rng: Random) -> Tensor:
        x, condition = self.data.x[rows], self.data.condition[rows]
        loss: Tensor = self.model.loss(x, condition, player=player, rng=rng)
        if self.data.weight is None:
            return loss.mean()
        if loss.ndim == 0:
            raise TrainingError(
                f"{type(self.model).__name__}.loss returned one number, but the events have "
                "weights; return one loss per event, shape (n_events,)"
            )
        return (self.data.weight[rows] * loss).mean()

    def _look_around(self, *, over: bool) -> bool:
        """Check, log and report now and then: every 100 steps or second, whichever is rarer.

        Returns
        -------
        bool
            Whether all is well; if not, the model is back in an earlier state.
        """
        now = time.monotonic()
        if self.progress is not None and now - self.last_progress > 0.2:
            self.last_progress = now
            self.progress(self._progress(now))
        if not over and (self.n_summed < 100 or now - self.last_log < 1.0):
            return True
        self.last_log = now
        return self._log(over)

    def _log(self, over: bool) -> bool:
        losses = {player: float(total) / self.n_summed for player, total in self.sums.items()}
        self.sums = {player: torch.zeros_like(total) for player, total in self.sums.items()}
        self.n_summed = 0
        if not all(math.isfinite(loss) for loss in losses.values()) or not self._finite_weights():
            self._rescue(losses, over)
            return False
        self._keep_good_state()
        self.history.steps.append(self.step)
        self.history.seconds.append(time.monotonic() - self.started)
        for player, loss in losses.items():
            self.history.losses.setdefault(player, []).append(loss)
        self._validate()
        return True

    def _finite_weights(self) -> bool:
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def _validate(self) -> None:
        rows = self.data.held_out[:4096]
        if len(rows) == 0:
            return
        # the same noise each time, so that the curve shows the model and not the draw
        rng = GeneratorRandom(as_generator(0, self.config.device))
        state = {name: b.clone() for name, b in self.model.named_buffers()}
        self.model.eval()
        for player in self.optimizers:
            loss = self._mean_loss(rows, player, rng)
            self.history.validation.setdefault(player, []).append(float(loss.detach()))
        self.model.train()
        for name, buffer in self.model.named_buffers():
            buffer.copy_(state[name])

    def _keep_good_state(self) -> None:
        self.good: dict[str, Any] = {
            "step": self.step,
            "model": {name: t.clone() for name, t in self.model.state_dict().items()},
            "average": [t.clone() for t in self.average.tensors],
            "optimizers": {p: copy.deepcopy(o.state_dict()) for p, o in self.optimizers.items()},
        }

    def _rescue(self, losses: dict[str, float], over: bool) -> None:
        self.n_rescues += 1
        text = ", ".join(f"{player} {loss:g}" for player, loss in losses.items())
        message = f"non-finite loss before step {self.step} ({text})"
        if self.n_rescues > 5:
            raise TrainingError(
                f"{message}, after five returns to the last good state with half the learning "
                "rate each; look for extreme values in the data or lower learning_rate"
            )
        if over and self.n_steps is None and self.good["step"] == 0:
            raise TrainingError(
                f"{message}, and the budget is over before any good state; look for extreme "
                "values in the data or lower learning_rate"
            )
        message += "; went back to the last good state and halved the learning rate"
        logger.warning(message)
        self.history.messages.append(message)
        self.step = self.good["step"]
        self.model.load_state_dict(self.good["model"])
        for mine, kept in zip(self.average.tensors, self.good["average"], strict=True):
            mine.copy_(kept)
        for player, optimizer in self.optimizers.items():
            # a copy, since the optimizer goes on in the tensors that it is given
            optimizer.load_state_dict(copy.deepcopy(self.good["optimizers"][player]))
        self.rate_scale /= 2

    def _progress(self, now: float) -> Progress:
        elapsed = now - self.started
        fraction = self._fraction()
        n = max(1, self.n_summed)
        return Progress(
            step=self.step,
            fraction=min(1.0, fraction),
            loss={player: float(total) / n for player, total in self.sums.items()},
            events_per_second=self.history.n_events_seen / max(elapsed, 1e-9),
            seconds_left=elapsed * (1 - fraction) / max(fraction, 1e-9),
        )


def optimizers_of(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
    """Optimizers of a model's players; Adam on everything for a module that names none."""
    players = getattr(model, "players", None)
    if players is not None:
        return dict(players())
    return {"model": torch.optim.Adam(model.parameters(), lr=1e-3)}
