"""Between the training loop and its checkpoints: what is kept, and how it comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from physgen.training.checkpoint import Checkpoint
from physgen.training.config import TrainingConfig
from physgen.training.history import History, TrainingError
from physgen.training.signals import StopSignal, noted_signals
from physgen.training.snapshot import Snapshot

if TYPE_CHECKING:
    from physgen.training.loop import Loop

__all__ = ["Keeper", "identity"]

logger = logging.getLogger(__name__)


class Keeper:
    """Writes a training down now and then, and when it is asked to stop.

    Attributes
    ----------
    history : History or None
        Of a training that had ended already; the model then has its weights.
    """

    def __init__(self, loop: Loop, checkpoint: Checkpoint, stop: StopSignal) -> None:
        self.loop, self.checkpoint, self.stop = loop, checkpoint, stop
        self.history: History | None = None
        # noise of torch's layers (dropout) comes from the global generator; ours never does
        self.global_state = torch.get_rng_state()

    @classmethod
    @contextlib.contextmanager
    def of(cls, loop: Loop, checkpoint: Checkpoint) -> Iterator[Keeper]:
        """Bring the training back to its checkpoint, if there is one; heed signals inside."""
        with noted_signals() as stop:
            keeper = cls(loop, checkpoint, stop)
            keeper.resume()
            try:
                yield keeper
            except TrainingError as error:
                if error.history is not None:  # given up: it would be again
                    checkpoint.clear()
                raise
            stop.obey()

    def resume(self) -> None:
        """Go on with what the checkpoint holds."""
        found = self.checkpoint.read()
        if found is None:
            return
        state, finished = found
        folder = self.checkpoint.folder
        if finished:
            self.loop.model.load_state_dict(state["model"])
            self.loop.model.eval()
            self.history = History.from_dict(state["history"])
            logger.info("this training had ended; its result is taken from %s", folder)
            return
        self._restore(state)
        logger.info("going on after step %s, as kept in %s", f"{self.loop.step:,}", folder)

    def after_step(self, now: float) -> None:
        """Write a checkpoint if one is due; end here if a signal has asked for it."""
        if self.stop.number is None:
            if self.checkpoint.due():
                self.checkpoint.write(self._state(now), self.loop.step)
            return
        self.checkpoint.write(self._state(now), self.loop.step)
        kept, again = self.checkpoint.saved_step, "begins anew"
        if kept is not None:
            again = f"goes on after step {kept:,}, as kept in {self.checkpoint.folder}"
        logger.warning("stopped after step %s; the same call %s", f"{self.loop.step:,}", again)
        self.stop.obey()

    def finish(self, history: History) -> None:
        """Keep the result, so that it is not lost before the caller has saved it."""
        state = {"model": dict(self.loop.model.state_dict()), "history": history.to_dict()}
        self.checkpoint.write(state, self.loop.step, finished=True)

    def _state(self, now: float) -> dict[str, Any]:
        loop = self.loop
        everywhere = torch.get_rng_state()
        return {
            "now": loop.snapshot().state(),
            "good": loop.good.state(),
            "sound": None if loop.sound is loop.good else loop.sound.state(),
            "best": loop.best.state(),
            "data": loop.data.state(),
            "looks": loop.looks.state(),
            "rates": loop.schedule.scale,
            "n_parts": loop.mean_loss.n_parts,
            "n_rescues": loop.n_rescues,
            "sums": loop.sums,
            "n_summed": loop.n_summed,
            "history": loop.history.to_dict(),
            "said": sorted(loop.said),
            "elapsed": now - loop.started,
            "since_log": now - loop.last_log,
            "global": None if torch.equal(everywhere, self.global_state) else everywhere,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        loop = self.loop
        now = Snapshot.of_state(state["now"])
        now.restore(loop.model, loop.average, loop.optimizers)
        loop.step = now.step
        loop.good = loop.sound = Snapshot.of_state(state["good"])
        if state["sound"] is not None:
            loop.sound = Snapshot.of_state(state["sound"])
        loop.best.restore(state["best"])
        loop.data.restore(state["data"])
        loop.looks.restore(state["looks"])
        loop.schedule.scale = state["rates"]
        loop.mean_loss.n_parts = state["n_parts"]
        loop.n_rescues, loop.n_summed = state["n_rescues"], state["n_summed"]
        loop.sums = {player: sum_.to(loop.config.device) for player, sum_ in state["sums"].items()}
        loop.history = History.from_dict(state["history"])
        loop.said = set(state["said"])
        loop.elapsed_before, loop.since_log = state["elapsed"], state["since_log"]
        if state["global"] is not None:
            torch.set_rng_state(state["global"])


def identity(
    data: Iterable[Tensor | None], config: TrainingConfig, generator: torch.Generator
) -> dict[str, Any]:
    """What a training must have in common with the one that it goes on with."""
    digest = hashlib.sha256()
    for tensor in data:
        if tensor is None:
            continue
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
    return {
        "training": dataclasses.asdict(config),
        "seed": generator.initial_seed(),
        "data_sha256": digest.hexdigest(),
        "versions": {"torch": torch.__version__},
    }
