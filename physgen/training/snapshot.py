"""The state of a training at one step, to come back to."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from physgen.training.average import Average

__all__ = ["Snapshot"]


class Snapshot:
    """Copy of the weights, buffers, averages and optimizers of a training at one step."""

    def __init__(
        self,
        step: int,
        model: nn.Module,
        average: Average,
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        self.step = step
        self._model = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._average = [tensor.clone() for tensor in average.tensors]
        self._optimizers = {p: copy.deepcopy(o.state_dict()) for p, o in optimizers.items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "step": self.step,
            "model": self._model,
            "average": self._average,
            "optimizers": self._optimizers,
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Snapshot:
        """The snapshot whose :meth:`state` this is."""
        snapshot = cls.__new__(cls)
        snapshot.step = state["step"]
        snapshot._model, snapshot._average = state["model"], state["average"]
        snapshot._optimizers = state["optimizers"]
        return snapshot

    def restore(
        self,
        model: nn.Module,
        average: Average,
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        """Bring them back as they were."""
        model.load_state_dict(self._model)
        for tensor, kept in zip(average.tensors, self._average, strict=True):
            tensor.copy_(kept)
        for player, optimizer in optimizers.items():
            # a copy, since the optimizer goes on in the tensors that it is given
            optimizer.load_state_dict(copy.deepcopy(self._optimizers[player]))
