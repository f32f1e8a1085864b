r"""Features made group by group: each by a model of its own, given all groups before it.

By the chain rule nothing is lost, :math:`p(x_1, x_2 | c) = p(x_1 | c)\, p(x_2 | x_1, c)`, and each
group can have what suits it: a shower's energies a perceptron, its shape a network that knows the
neighbors, a jet's particles one that does not know their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from physgen.checks import check_effort
from physgen.models.base import GenerativeModel, HasLogProb
from physgen.models.scores import two_sample_score
from physgen.random import Random
from physgen.tensor_spec import TensorSpec

__all__ = ["CascadeModel", "cascade"]


def cascade(build: Callable[[TensorSpec], GenerativeModel], spec: TensorSpec) -> GenerativeModel:
    """One model for tensors of one group, else one per stage of the spec.

    Parameters
    ----------
    build : callable
        Makes the model of one group from its spec.
    spec : TensorSpec
    """
    if not spec.stages:
        return build(spec)
    return CascadeModel([build(stage) for stage in spec.stages], spec)


class CascadeModel(GenerativeModel):
    """One model per stage; players are named "1: ...", "2: ..." after their stage.

    Parameters
    ----------
    models : list of GenerativeModel
        In the order of the stages.
    spec : TensorSpec
        With the stages.
    """

    def __init__(self, models: list[GenerativeModel], spec: TensorSpec) -> None:
        super().__init__()
        self.spec = spec
        self.models = nn.ModuleList(models)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """Players of all stages, in turn."""
        return {
            f"{k}: {name}": optimizer
            for k, model in enumerate(self._models(), 1)
            for name, optimizer in model.players().items()
        }

    @property
    def judges(self) -> bool:  # type: ignore[override]
        """Whether one of the stages does."""
        return any(model.judges for model in self._models())

    @property
    def splits_batches(self) -> bool:  # type: ignore[override]
        """Whether all stages can."""
        return all(model.splits_batches for model in self._models())

    @property
    def turns(self) -> dict[str, int]:
        """Turns per step of the players that have more than one."""
        return {
            f"{k}: {name}": n
            for k, model in enumerate(self._models(), 1)
            for name, n in getattr(model, "turns", {}).items()
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of a player, given the true features of the stages before."""
        stage, name = player.split(": ", 1)
        own, given = self._parts(x, condition)[int(stage) - 1]
        return list(self._models())[int(stage) - 1].loss(own, given, player=name, rng=rng)

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random, **effort: Any) -> Tensor:
        """Make events stage by stage; ``effort`` goes to every stage."""
        for model in self._models():
            check_effort(model.sample, effort, filled_in="n_events condition rng")
        made = condition
        for model in self._models():
            made = torch.cat((made, model.sample(n_events, made, rng=rng, **effort)), dim=1)
        return made[:, condition.shape[1] :]

    def score(self, x: Tensor, condition: Tensor, *, rng: Random) -> float | None:
        """Distance of whole events from the true ones; None where a stage has no score."""
        if not all(hasattr(model, "score") for model in self._models()):
            return None
        return two_sample_score(x, self.sample(len(x), condition, rng=rng), condition)

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Natural logarithm of the density, (n_events,): the sum over the stages.

        Raises
        ------
        TypeError
            If the models have no density.
        """
        total = x.new_zeros(len(x))
        for model, (own, given) in zip(self._models(), self._parts(x, condition), strict=True):
            if not isinstance(model, HasLogProb):
                raise TypeError(f"{type(model).__name__} has no log_prob")
            total = total + model.log_prob(own, given)
        return total

    def diagnose(
        self, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[dict[str, float], list[str]]:
        """What looks into the stages show, each under the name of its stage."""
        numbers: dict[str, float] = {}
        warnings: list[str] = []
        parts = self._parts(x, condition)
        for k, (model, (own, given)) in enumerate(zip(self._models(), parts, strict=True), 1):
            found, said = model.diagnose(own, given, rng=rng)
            numbers |= {f"{k}: {name}": value for name, value in found.items()}
            warnings += [f"stage {k}: {text}" for text in said]
        return numbers, warnings

    def _models(self) -> Iterator[GenerativeModel]:
        yield from self.models  # type: ignore[misc]  # nn.ModuleList forgets the type

    def _parts(self, x: Tensor, condition: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of each stage, and what is known before it."""
        known = torch.cat((condition, x), dim=1)
        parts = []
        for stage in self.spec.stages:
            start = stage.n_conditions
            parts.append((known[:, start : start + stage.n_features], known[:, :start]))
        return parts
