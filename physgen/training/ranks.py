"""The processes of one training, as torchrun starts them: one loop in each, and what they share.

Each process takes its part of every batch; gradients are summed before a step, so that all hold
the same weights. What needs no gradient (losses held out, looks, files) is done by the first
process, which tells the others what came of it. With one process nothing is shared.
"""

from __future__ import annotations

import atexit
import datetime as dt
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor, nn

from physgen.training.packing import pack, unpack

__all__ = ["LostProcessError", "Ranks", "bits_of", "rank_and_world"]

T = TypeVar("T")

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# after which a process that says nothing is lost; one that ended is noticed at once
_TIMEOUT = dt.timedelta(minutes=10)
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class LostProcessError(RuntimeError):
    """Another process of the training has ended or says nothing more."""


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many the caller's process group or torchrun has."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    if not set(_VARIABLES) <= os.environ.keys():
        return 0, 1
    return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


@dataclass(frozen=True)
class Ranks:
    """One process among those of one training.

    Parameters
    ----------
    rank : int, default 0
        Number of this process; 0 is the first one.
    world : int, default 1
        How many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def found(cls, device: str = "cpu") -> Ranks:
        """Those of the process group that there is, or that torchrun's variables name.

        Raises
        ------
        ValueError
            If the device is not one for each process.
        LostProcessError
            If the others do not come.
        """
        rank, world = rank_and_world()
        if world == 1:
            return cls()
        if not dist.is_available():
            raise ValueError("this torch is built without torch.distributed: train in one process")
        _choose_device(device)
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
            try:
                dist.init_process_group(backend, timeout=_TIMEOUT)
            except RuntimeError as error:
                raise LostProcessError(
                    f"the {world} processes of this training did not meet ({error})"
                ) from error
            atexit.register(_leave)
        return cls(rank, world)

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which alone prints and writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Rows of a batch that this process takes."""
        return rows if self.world == 1 else rows[self.rank :: self.world]

    def largest(self, number: int) -> int:
        """Largest of the numbers that the processes have."""
        if self.world == 1:
            return number
        tensor = torch.tensor(number)
        self._run(lambda: dist.all_reduce(tensor, dist.ReduceOp.MAX))
        return int(tensor)

    def of_first(self, number: float) -> float:
        """The number that the first process has."""
        if self.world == 1:
            return number
        tensor = torch.tensor(float(number), dtype=torch.float64)
        self._run(lambda: dist.broadcast(tensor, 0))
        return float(tensor)

    def from_first(self, make: Callable[[], T]) -> T:
        """What the first process makes; a FloatingPointError that it raises is raised by all.

        Parameters
        ----------
        make : callable
            Called by the first process only, without arguments.
        """
        if self.world == 1:
            return make()
        told: tuple[Any, str | None] = (None, None)
        try:
            told = (make(), None) if self.leads else told
        except FloatingPointError as error:
            told = (None, str(error))
        made, failure = self._told(told)
        if failure is not None:
            raise FloatingPointError(failure)
        result: T = made
        return result

    def gathered(self, value: Any) -> list[Any]:
        """Values of all processes, on all of them; tensors come back on the CPU."""
        if self.world == 1:
            return [value]
        data = _to_bytes(value)
        n = self.largest(len(data))
        lengths = [torch.zeros((), dtype=torch.int64) for _ in range(self.world)]
        self._run(lambda: dist.all_gather(lengths, torch.tensor(len(data))))
        mine = torch.zeros(n, dtype=torch.uint8)
        mine[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        all_ = [torch.empty_like(mine) for _ in range(self.world)]
        self._run(lambda: dist.all_gather(all_, mine))
        pairs = zip(all_, lengths, strict=True)
        return [_from_bytes(part[: int(length)].numpy().tobytes()) for part, length in pairs]

    def sum_gradients(
        self,
        parameters: Iterable[Tensor],
        means: Sequence[Tensor],
        share: float,
        loss: Tensor,
        error: FloatingPointError | None,
    ) -> Tensor:
        """Give the parameters the sum of the gradients that the processes have.

        Parameters
        ----------
        parameters : iterable of Tensor
            With gradients, or without.
        means : sequence of Tensor
            Over this process's part of a batch; they become those over the batch.
        share : float
            Of the batch that this part is.
        loss : Tensor of shape ()
        error : FloatingPointError or None
            Why this process has no gradient.

        Returns
        -------
        Tensor of shape ()
            Sum of the losses.

        Raises
        ------
        FloatingPointError
            If one of the processes has no gradient.
        """
        own = list(parameters)
        # a parameter that no process has used stays without a gradient
        used = [float(p.grad is not None) for p in own]
        tail = torch.stack((loss, loss.new_tensor(float(error is not None))))
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in own]
        parts += [mean * share for mean in means]
        flat = torch.cat([*(p.flatten() for p in parts), loss.new_tensor(used), tail])
        self._run(lambda: dist.all_reduce(flat))
        if flat[-1] > 0:
            self._fail(error)
        sums = flat[: -2 - len(own)].split([p.numel() for p in parts])
        for p, total, was_used, n in zip(own, sums, used, flat[-2 - len(own) : -2], strict=False):
            if was_used:
                p.grad.copy_(total.view_as(p))  # type: ignore[union-attr]  # it has been used
            elif n > 0:
                p.grad = total.view_as(p).to(p.dtype)
        for mean, total in zip(means, sums[len(own) :], strict=True):
            mean.copy_(total.view_as(mean))
        return flat[-2].to(loss.dtype)

    def settle(self, model: nn.Module) -> None:
        """Give the model of every process the state of that of the first."""
        if self.world > 1:
            model.load_state_dict(self.from_first(lambda: dict(model.state_dict())))

    def differ(self, value: Any) -> bool:
        """Whether the processes have different values."""
        if self.world == 1:
            return False
        return len({json.dumps(v, sort_keys=True) for v in self.gathered(value)}) > 1

    def _told(self, value: Any) -> Any:
        data = _to_bytes(value) if self.leads else b""
        n = int(self.of_first(len(data)))
        tensor = torch.empty(n, dtype=torch.uint8)
        if self.leads:
            tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._run(lambda: dist.broadcast(tensor, 0))
        return value if self.leads else _from_bytes(tensor.numpy().tobytes())

    def _fail(self, error: FloatingPointError | None) -> NoReturn:
        texts = self.gathered(None if error is None else str(error))
        raise FloatingPointError(next(text for text in texts if text is not None)) from error

    def _run(self, communicate: Callable[[], Any]) -> None:
        try:
            communicate()
        except RuntimeError as error:
            raise LostProcessError(
                f"process {self.rank} of {self.world} stops, since another one has ended or "
                "says nothing more; the message of that one says why"
            ) from error


def bits_of(model: nn.Module) -> int:
    """A number that differs where weights do, in whatever bit."""
    total = 0
    for k, p in enumerate(model.parameters()):
        bits = p.detach().contiguous().view(_INTEGERS[p.element_size()])
        # odd factors, so that equal changes of two tensors do not cancel
        total += (2 * k + 1) * int(bits.sum(dtype=torch.int64))
    return total


def _choose_device(device: str) -> None:
    """Let "cuda" mean the device of this process."""
    if not device.startswith("cuda"):
        return
    if device != "cuda":
        raise ValueError(
            f"device={device!r} would be the same for all processes; say device='cuda', and each "
            "takes one"
        )
    local, n_devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= n_devices:
        raise ValueError(
            f"process {local} of this machine needs a CUDA device of its own, but there are "
            f"{n_devices}: start no more processes than devices, or train with device='cpu'"
        )
    torch.cuda.set_device(local)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _to_bytes(value: Any) -> bytes:
    """JSON and safetensors: what another process says is data and never code."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(pack(value, tensors)).encode()
    return len(text).to_bytes(8, "little") + text + save(tensors)


def _from_bytes(data: bytes) -> Any:
    end = 8 + int.from_bytes(data[:8], "little")
    return unpack(json.loads(data[8:end]), load(data[end:]))
