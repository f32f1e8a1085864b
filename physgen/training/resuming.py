"""Between the training loop and its checkpoints: what is kept, and how it comes back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from physgen.training.checkpoint import Checkpoint
from physgen.training.config import TrainingConfig
from physgen.training.history import History, TrainingError
from physgen.training.ranks import Ranks
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
        with noted_signals(patient=loop.ranks.world > 1) as stop:
            keeper = cls(loop, checkpoint, stop)
            keeper.resume()
            try:
                yield keeper
            except TrainingError as error:
                if error.history is not None and loop.ranks.leads:  # given up: it would be again
                    checkpoint.clear()
                raise
            stop.obey()

    def resume(self) -> None:
        """Go on with what the checkpoint holds."""
        found = self.loop.ranks.from_first(self.checkpoint.read)
        if found is None:
            return
        state, finished = found
        folder = self.checkpoint.folder
        if finished:
            self.loop.model.load_state_dict(state["model"])
            self.loop.model.eval()
            self.history = History.from_dict(state["history"])
            self._tell("this training had ended; its result is taken from %s", folder)
            return
        self._restore(state)
        self._tell("going on after step %s, as kept in %s", f"{self.loop.step:,}", folder)

    def after_step(self, now: float) -> None:
        """Write a checkpoint if one is due; end here if a signal has asked for it."""
        ranks = self.loop.ranks
        due = ranks.leads and self.checkpoint.due()
        # one number for both: the signal that any process has, or the turn of the first one
        wanted = ranks.largest(2 * (self.stop.number or 0) + due)
        if wanted:
            self._write(self._state(now))
        if wanted < 2:
            return
        self.stop.number = wanted // 2
        if ranks.leads:
            self._say_goodbye()
        self.stop.obey()

    def _say_goodbye(self) -> None:
        kept, again = self.checkpoint.saved_step, "begins anew"
        if kept is not None:
            again = f"goes on after step {kept:,}, as kept in {self.checkpoint.folder}"
        logger.warning("stopped after step %s; the same call %s", f"{self.loop.step:,}", again)

    def finish(self, history: History) -> None:
        """Keep the result, so that it is not lost before the caller has saved it."""
        state = {"model": dict(self.loop.model.state_dict()), "history": history.to_dict()}
        self._write(state, finished=True)

    def _write(self, state: dict[str, Any], *, finished: bool = False) -> None:
        if self.loop.ranks.leads:
            self.checkpoint.write(state, self.loop.step, finished=finished)

    def _tell(self, message: str, *parts: object) -> None:
        if self.loop.ranks.leads:
            logger.info(message, *parts)

    def _state(self, now: float) -> dict[str, Any]:
        loop = self.loop
        states = self._models()
        return {
            **states,
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
            "own": loop.ranks.gathered(self._own(states)),
        }

    def _models(self) -> dict[str, Any]:
        loop = self.loop
        return {
            "now": loop.snapshot().state(),
            "good": loop.good.state(),
            "sound": None if loop.sound is loop.good else loop.sound.state(),
        }

    def _own(self, models: Mapping[str, Any]) -> dict[str, Any]:
        """What each of many processes has of its own: chains, buffers and random numbers."""
        everywhere, loop = torch.get_rng_state(), self.loop
        own: dict[str, Any] = {
            "global": None if torch.equal(everywhere, self.global_state) else everywhere
        }
        if loop.ranks.world > 1:
            equal = {name for name, _ in loop.model.named_parameters()}
            own["noise"] = loop.noise.generator.get_state()
            own["buffers"] = {
                name: {n: t for n, t in state["model"].items() if n not in equal}
                for name, state in models.items()
                if state is not None
            }
        return own

    def _restore(self, state: dict[str, Any]) -> None:
        loop = self.loop
        own = state["own"][loop.ranks.rank]
        for name, buffers in own.get("buffers", {}).items():
            state[name]["model"] |= buffers
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
        if "noise" in own:
            loop.noise.generator.set_state(own["noise"])
        if own["global"] is not None:
            torch.set_rng_state(own["global"])


def identity(
    data: Iterable[Tensor | None],
    config: TrainingConfig,
    generator: torch.Generator,
    ranks: Ranks,
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
        # no key of its own for one process, whose checkpoints do not say so
        **({"processes": ranks.world} if ranks.world > 1 else {}),
    }
