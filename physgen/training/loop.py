"""The training loop."""

from __future__ import annotations

import contextlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from physgen.random import GeneratorRandom, Rng, as_generator, derived_seed
from physgen.training.average import Average
from physgen.training.batches import Batches, normalized
from physgen.training.best import Best
from physgen.training.checkpoint import Checkpoint
from physgen.training.config import TrainingConfig, seconds
from physgen.training.guard import NotFiniteError, check_finite
from physgen.training.history import History, Progress, TrainingError
from physgen.training.looks import Looks, untouched
from physgen.training.mean_loss import MeanLoss
from physgen.training.players import descend, optimizers_of
from physgen.training.pools import Pools
from physgen.training.ranks import Ranks, bits_of
from physgen.training.resuming import Keeper, identity
from physgen.training.schedule import Schedule
from physgen.training.snapshot import Snapshot
from physgen.training.threads import threads

__all__ = ["train", "train_on"]

logger = logging.getLogger(__name__)

# losses are read after so many steps; in a training by the clock after so many seconds at least,
# in one of so many steps after a fiftieth of them, so that no bit hangs on the clock
_LOG_STEPS, _MAX_LOG_STEPS, _N_LOGS, _LOG_SECONDS = 100, 1000, 50, 1.0
# seeds of the noise of each process, beside those of samples, temperatures and orders
_NOISE = 6


def train(
    model: nn.Module,
    x: Tensor,
    condition: Tensor | None = None,
    *,
    weight: Tensor | None = None,
    config: TrainingConfig,
    rng: Rng,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Train a model in place; its weights are the averaged ones in the end.

    A model with ``diagnose`` is looked at along the training, at steps that grow by a fifth and
    for at most 5 % of the time, and in the end once more, with the averaged weights. It is shown
    up to 1024 held-out events, or training events where none are held out, drawn in proportion to
    their weights unless some are negative. A look changes nothing: with and without looks, a
    training ends at the same weights.

    A model with ``score(x, condition, *, rng) -> float`` is scored at every look with the averaged
    weights, on the same events, and ends with those of the lowest score
    (``TrainingConfig.keep``): what adversarial losses do not tell. None in place of a number says
    that it cannot be scored.

    Each player has one turn per step, in the order of ``players()``, or as many as the model's
    attribute ``turns``, a dict by player, says; each further turn has a batch of its own.

    ``loss`` and ``diagnose`` may raise a FloatingPointError that says why the model diverges. The
    training then goes back to the last state that passed a look, with half the learning rate; a
    loss or weight that is not finite brings back the last state before it was noticed. A model
    that raises it should say so with an attribute ``judges = True``: with a budget in steps or
    epochs its looks are then due by the step alone, as those of a score are, so that the weights
    of a seed do not hang on the clock.

    With a checkpoint, a training that was killed goes on where it was last kept, and ends with the
    weights of an undisturbed one, bit for bit on a CPU (a budget in seconds goes on with what is
    left of it). Ctrl-C and SIGTERM write one more and then raise KeyboardInterrupt or SystemExit.
    Of a model its ``state_dict`` is kept: parameters, buffers, and a tensor that its
    ``get_extra_state`` may return.

    In the processes of torchrun this is one training of all of them, to be called by each with the
    same arguments. ``batch_size`` is that of all; each takes its part of every batch with noise
    of its own, except that the first step is taken by all alike on the whole batch, from which
    models learn their scales. The first process looks, scores and writes. All end with its state.

    Parameters
    ----------
    model : nn.Module
        With ``loss`` (and ``players``; without it Adam with rate 1e-3 trains all parameters), and
        ``diagnose`` if it shows something, as in :class:`physgen.models.base.GenerativeModel`.
    x : Tensor of shape (n_events, n_features)
    condition : Tensor of shape (n_events, n_conditions), optional
    weight : Tensor of shape (n_events,), optional
        Event weights, any sign; normalized here to a mean of 1.
    config : TrainingConfig
    rng : int or torch.Generator
        Seed of batches and noise.
    progress : callable, optional
        Called with a :class:`Progress` about five times a second.
    checkpoint : Checkpoint, optional
        Where the training is kept. It still holds the end of the training afterwards, which the
        same call then returns at once.

    Returns
    -------
    History

    Raises
    ------
    TrainingError
        If a sixth return to a good state is needed, or the budget is over before there is any. The
        model then holds the last good state, with its averaged weights. Or if the memory of the
        device is too small for a batch that cannot be split.
    ValueError, BlockingIOError
        If the checkpoint is of another training or damaged, or in use by another process; or if
        the processes of one training are given different things.
    LostProcessError
        If another process of the training has ended.
    """
    if not config.has_budget:
        raise ValueError("say how long to train: epochs=, steps= or budget= (e.g. '60s')")
    ranks = Ranks.found(config.device)
    if condition is None:
        condition = x.new_zeros(len(x), 0)
    generator = as_generator(rng, config.device)
    about = {}
    if checkpoint is not None or ranks.world > 1:
        about = identity((x, condition, weight), config, generator, ranks)
    data = Batches(x, condition, normalized(weight, len(x)), config, generator)
    return _run(model, data, config, generator, progress, checkpoint, about, ranks)


def train_on(
    model: nn.Module,
    data: Callable[[torch.Generator, int], Pools],
    *,
    config: TrainingConfig,
    rng: Rng,
    progress: Callable[[Progress], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> History:
    """Train as :func:`train` does, on events that come in pools.

    Parameters
    ----------
    model : nn.Module
        As for :func:`train`.
    data : callable
        Of the generator of the noise and the number of batches in a step; gives the pools.
    config, rng, progress, checkpoint
        As for :func:`train`. Of the data, a checkpoint knows the events that are always there.

    Raises
    ------
    TrainingError, ValueError, BlockingIOError
        As :func:`train`.
    """
    if not config.has_budget:
        raise ValueError("say how long to train: epochs=, steps= or budget= (e.g. '60s')")
    ranks = Ranks.found(config.device)
    generator = as_generator(rng, config.device)
    turns: Mapping[str, int] = getattr(model, "turns", {})
    n_turns = 1 + sum(n - 1 for n in turns.values())
    with contextlib.closing(data(generator, n_turns)) as pools:
        about = {}
        if checkpoint is not None or ranks.world > 1:
            about = identity(pools.tensors, config, generator, ranks)
        return _run(model, pools, config, generator, progress, checkpoint, about, ranks)


def _run(
    model: nn.Module,
    data: Batches | Pools,
    config: TrainingConfig,
    generator: torch.Generator,
    progress: Callable[[Progress], None] | None,
    checkpoint: Checkpoint | None,
    about: Mapping[str, Any],
    ranks: Ranks,
) -> History:
    with threads(config.n_threads):
        if ranks.differ(dict(about)):
            raise ValueError(
                f"the {ranks.world} processes of torchrun have different events, settings or "
                "seeds; every call of fit or train is one training of all of them"
            )
        if data.batch_size < ranks.world:
            raise ValueError(
                f"batch_size={data.batch_size} leaves none of its events to some of the "
                f"{ranks.world} processes; it is that of all of them together"
            )
        ranks.settle(model.to(config.device))
        loop = Loop(model, data, config, generator, progress, ranks)
        if checkpoint is None:
            return loop.run()
        held = checkpoint.held(about) if ranks.leads else contextlib.nullcontext()
        with held, Keeper.of(loop, checkpoint) as keeper:
            return keeper.history or loop.run(keeper)


class Loop:
    """State of one training."""

    def __init__(
        self,
        model: nn.Module,
        data: Batches | Pools,
        config: TrainingConfig,
        generator: torch.Generator,
        progress: Callable[[Progress], None] | None,
        ranks: Ranks,
    ) -> None:
        # any nn.Module with a loss of this signature is welcome, so its type says no more
        self.model: Any = model
        self.data, self.config, self.ranks = data, config, ranks
        self.rng = self.noise = GeneratorRandom(generator)
        if ranks.world > 1:
            seed = derived_seed(generator.initial_seed() % (1 << 64), _NOISE, ranks.rank)
            self.noise = GeneratorRandom(as_generator(seed, config.device))
        self.optimizers = optimizers_of(model)
        self.turns: Mapping[str, int] = getattr(model, "turns", {})
        self.mean_loss = MeanLoss(model, data, ranks)
        self.largest_gradient = config.gradient_clip * getattr(model, "gradient_scale", 1.0)
        self.average = Average(model, config.averaging)
        self.best = Best(self.average)
        self.n_steps = self._n_steps()
        best = self.best if config.keep == "best" else None
        self.looks = Looks(model, data, best, by_step=self.n_steps is not None)
        self.schedule = Schedule(self.optimizers, config, self.n_steps)
        self.deadline = None if config.budget is None else seconds(config.budget)
        self.history = History()
        self.said: set[str] = set()
        self.step = 0
        self.n_rescues = 0
        # the last state with finite losses and weights, and the last that passed a look as well
        self.good = self.sound = self.snapshot()
        self._empty_sums()
        self.progress = progress if ranks.leads else None
        self.elapsed_before = self.since_log = 0.0

    def _n_steps(self) -> int | None:
        if self.config.steps is not None:
            return int(self.config.steps)
        if self.config.epochs is not None:
            return max(1, round(self.config.epochs * self.data.steps_per_epoch))
        return None

    def run(self, keeper: Keeper | None = None) -> History:
        self.model.train()
        self.last_progress = now = time.monotonic()
        self.started, self.last_log = now - self.elapsed_before, now - self.since_log
        self._train_on(keeper)
        while not self._finished():
            self._train_on(keeper)
        if self.ranks.world > 1:
            self.ranks.settle(self.model)
            self.history = History.from_dict(self.ranks.from_first(self.history.to_dict))
        if keeper is not None:
            keeper.finish(self.history)
        return self.history

    def _train_on(self, keeper: Keeper | None) -> None:
        while (fraction := self._fraction()) < 1.0:
            self.schedule.set_rates(self.step, fraction)
            try:
                self._one_step()
                self.step += 1
                self._look_around()
            except FloatingPointError as error:
                self._rescue(error)
            if keeper is not None:
                keeper.after_step(time.monotonic())

    def _finished(self) -> bool:
        """Average the weights and look at the result; False if that leads back to a good state."""
        try:
            if self.n_summed:
                self._log()
            self.average.copy_to(self.model)
            self._look()
        except FloatingPointError as error:
            self._rescue(error)
            return False
        if self.best.step not in (None, self.step):
            self.best.copy_to(self.model)
            self.history.kept_step = self.best.step
        self.model.eval()
        return True

    def _fraction(self) -> float:
        if self.step == 0:
            return 0.0
        if self.n_steps is not None:
            return self.step / self.n_steps
        return self.ranks.of_first(self._fraction_of_time(time.monotonic()))

    def _fraction_of_time(self, now: float) -> float:
        return self.looks.clock(now - self.started) / (self.deadline or 1.0)

    def _one_step(self) -> None:
        rows = self.data.next_batch()
        # what models learn from their first batch must be the same in all processes
        alike = self.step == 0
        rng = self.rng if alike else self.noise
        for player, optimizer in self.optimizers.items():
            n_turns = self.turns.get(player, 1)
            for turn in range(n_turns):
                own = rows if turn == 0 else self.data.next_batch()
                loss = self.mean_loss.gradient(own, player, optimizer, rng, alike)
                descend(optimizer, self.largest_gradient)
                # summed on the device: reading the number would stop a GPU at every step
                self.sums[player] = self.sums[player] + loss / n_turns
                self.history.n_events_seen += len(own) if turn else 0
        self.average.update(self.model, self.step + 1)
        self.n_summed += 1
        self.history.n_events_seen += len(rows)

    def _look_around(self) -> None:
        """Check, log and report now and then."""
        now = time.monotonic()
        if self.progress is not None and now - self.last_progress > 0.2:
            self.last_progress = now
            self.progress(self._progress(now))
        if not self._is_log_due(now):
            return
        self.last_log = now
        self._log()
        # at the end the averaged weights are looked at
        looked = self._fraction() < 1.0 and self._is_look_due(now)
        if looked:
            self._look()
        self.good = self.snapshot()
        if looked or not self.looks.possible:
            self.sound = self.good

    def _is_look_due(self, now: float) -> bool:
        return bool(self.ranks.of_first(self.looks.due(self.step, now - self.started)))

    def _is_log_due(self, now: float) -> bool:
        if self.n_steps is None:
            if self.n_summed < _LOG_STEPS:
                return False
            return self.ranks.of_first(now - self.last_log) >= _LOG_SECONDS
        return self.n_summed >= min(max(_LOG_STEPS, self.n_steps // _N_LOGS), _MAX_LOG_STEPS)

    def _log(self) -> None:
        losses = {player: float(total) / self.n_summed for player, total in self.sums.items()}
        self._empty_sums()
        check_finite(losses, self.model)
        if self.ranks.world > 1 and self.ranks.differ(bits_of(self.model)):
            raise TrainingError(
                f"the weights of the {self.ranks.world} processes have parted before step "
                f"{self.step}: train on machines and versions of one kind"
            )
        self.history.steps.append(self.step)
        self.history.seconds.append(time.monotonic() - self.started)
        for player, loss in losses.items():
            self.history.losses.setdefault(player, []).append(loss)
        self._validate()

    def _empty_sums(self) -> None:
        self.n_summed = 0
        zero = torch.zeros((), device=self.config.device)
        self.sums = dict.fromkeys(self.optimizers, zero)

    def _validate(self) -> None:
        rows = self.data.held_out[:4096]
        if len(rows) == 0 or not self.ranks.leads:
            return
        # the same noise each time, so that the curve shows the model and not the draw
        rng = GeneratorRandom(as_generator(0, self.config.device))
        with untouched(self.model):
            for player in self.optimizers:
                loss = self.mean_loss.value(rows, player, rng)
                self.history.validation.setdefault(player, []).append(loss)

    def _look(self) -> None:
        numbers, warnings = self.ranks.from_first(lambda: self.looks.take(self.step))
        self.history.add_look(self.step, numbers)
        for warning in warnings:
            # one that differs in its numbers alone is the same
            gist = re.sub(r"\d[\d.,e+-]*", "", warning)
            if gist not in self.said:
                self.said.add(gist)
                self._tell(f"at step {self.step}: {warning}")

    def _tell(self, message: str) -> None:
        if self.ranks.leads:
            logger.warning(message)
        self.history.messages.append(message)

    def snapshot(self) -> Snapshot:
        """The state now, to come back to."""
        return Snapshot(self.step, self.model, self.average, self.optimizers)

    def _rescue(self, error: FloatingPointError) -> None:
        """Go back to a good state with half the learning rate, or give up there."""
        out_of_time = self.n_steps is None and self._fraction() >= 1.0
        message = f"before step {self.step}: {error}"
        state = self.good if isinstance(error, NotFiniteError) else self.sound
        self._go_back(state)
        self.n_rescues += 1
        if self.n_rescues > 5:
            self._give_up(
                f"{message}, after five returns to the last good state with half the learning "
                "rate each",
                error,
            )
        if out_of_time and state.step == 0:
            self._give_up(f"{message}, and the budget is over before any good state", error)
        self._tell(f"{message}; went back to the last good state and halved the learning rate")
        self.schedule.halve()

    def _go_back(self, state: Snapshot) -> None:
        state.restore(self.model, self.average, self.optimizers)
        self.good = state
        self.step = state.step
        self.looks.next_step = min(self.looks.next_step, self.step + 1)
        self.history.go_back(self.step)
        self._empty_sums()

    def _give_up(self, message: str, error: FloatingPointError) -> NoReturn:
        self.average.copy_to(self.model)
        self.model.eval()
        raise TrainingError(
            f"{message}; the model holds the state of step {self.step}. Look for extreme values "
            "in the data or lower learning_rate",
            self.history,
        ) from error

    def _progress(self, now: float) -> Progress:
        elapsed = now - self.started
        fraction = self._fraction_of_time(now) if self.n_steps is None else self._fraction()
        n = max(1, self.n_summed)
        return Progress(
            step=self.step,
            fraction=min(1.0, fraction),
            loss={player: float(total) / n for player, total in self.sums.items()},
            events_per_second=self.history.n_events_seen / max(elapsed, 1e-9),
            seconds_left=elapsed * (1 - fraction) / max(fraction, 1e-9),
            diagnostics=self.history.last_look,
        )
