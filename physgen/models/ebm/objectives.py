"""What an objective needs of the model that learns by it, and the contrastive one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from physgen import mcmc
from physgen.checks import require_non_negative, require_positive
from physgen.models.base import TensorSpec
from physgen.models.persistent import PersistentChains
from physgen.random import Random

__all__ = ["ContrastiveDivergence", "EnergyModel", "Objective", "noise_like", "refuse_runaway"]

# Nats per feature. Where the model is right the gap is 0, else it is about the entropy by which
# data and model differ plus their divergence: ln 2 for a spin, a few nats for a narrow number.
# Chains that are e^100 times likelier than the data, or less, in every feature are elsewhere.
_RUNAWAY = 100.0


class EnergyModel(Protocol):
    """What an objective sees of a model."""

    spec: TensorSpec
    kernel: mcmc.Kernel
    chains: PersistentChains | None
    training: bool

    def terms(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Network and reference term of the energy, shape (2, n_events)."""
        ...


class Objective(Protocol):
    """What an energy is trained for, and how events are drawn from it then."""

    @property
    def n_steps_sample(self) -> int:
        """Moves to a generated event."""
        ...

    @property
    def n_levels(self) -> int:
        """Number of further inputs of the network: 1 for a noise level, else 0."""
        ...

    def kernel(self) -> mcmc.Kernel:
        """The moves of real features where the user chose none."""
        ...

    def chains(self, spec: TensorSpec) -> PersistentChains | None:
        """Chains that live along the training; refuses features that the objective cannot use."""
        ...

    def inputs(self, condition: Tensor) -> Tensor:
        """Second argument of the network at the law that is learned."""
        ...

    def scales(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Variance v of the reference law and amplitude a of the network, each (n_events,)."""
        ...

    def loss(self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Loss of shape (n_events,)."""
        ...

    def sample(
        self, model: EnergyModel, condition: Tensor, n_steps: int, *, rng: Random
    ) -> Tensor:
        """Draw an event for each condition."""
        ...

    def check_up(
        self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """Data and chain states whose energies agree on average where the model is right."""
        ...


@dataclass(frozen=True, kw_only=True)
class ContrastiveDivergence:
    r"""Lower the energy of the data and raise it where chains of the model are.

    .. math:: E(x, c) - E(x', c) + \alpha \left(f(x, c)^2 + f(x', c)^2\right)

    with chain states :math:`x'`, which go on from a replay buffer and are moved by the kernel at
    every update. Its gradient estimates that of :math:`-\ln p(x|c)`, and the last term holds the
    free constant of the energy near zero. Any features will do.

    Parameters
    ----------
    n_steps : int, default 20
        Moves per update.
    n_chains : int, default 1024
        Number of chains in the replay buffer.
    restart : float, default 0.0
        Share of the chains that start anew from noise at every update, in [0, 1].
    energy_weight : float, default 1e-3
        Weight alpha of the energy regularization.
    n_steps_sample : int, default 100
        Moves from a chain of the replay buffer to a generated event.

    References
    ----------
    Hinton, *Training products of experts by minimizing contrastive divergence*, Neural
    Computation 14 (2002) 1771. Tieleman, ICML 2008, p. 1064 (chains that go on). Du and Mordatch,
    arXiv:1903.08689, sec. 3 (replay buffer with restarts, energy regularization).
    """

    n_steps: int = 20
    n_chains: int = 1024
    restart: float = 0.0
    energy_weight: float = 1e-3
    n_steps_sample: int = 100

    def __post_init__(self) -> None:
        require_positive(self, "n_steps", "n_chains", "n_steps_sample")
        require_non_negative(self, "energy_weight", "restart")
        if self.restart > 1:
            raise ValueError(
                f"ContrastiveDivergence: restart must be in [0, 1], got {self.restart}"
            )

    @property
    def n_levels(self) -> int:
        """None."""
        return 0

    def kernel(self) -> mcmc.Kernel:
        """Langevin without the test: training and sampling share its bias, so it cancels."""
        return mcmc.Langevin(step_size=0.005)

    def chains(self, spec: TensorSpec) -> PersistentChains:
        """The replay buffer."""
        return PersistentChains(spec, self.n_chains)

    def inputs(self, condition: Tensor) -> Tensor:
        """The condition itself."""
        return condition

    def scales(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Ones."""
        return inputs.new_ones(len(inputs)), inputs.new_ones(len(inputs))

    def loss(self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random) -> Tensor:
        """Formula of the class.

        With conditions every event has its own chain; without, all share the chains' mean.

        Raises
        ------
        FloatingPointError
            If the energies of data and chains are more than 100 nats per feature apart.
        """
        fantasy = self._fantasy(model, condition, rng)
        f, reference = model.terms(torch.cat((x, fantasy)), torch.cat((condition, condition)))
        positive, negative = (f + reference).chunk(2)
        regular = f.square().chunk(2)
        refuse_runaway(float((positive - negative).detach().mean()), model.spec)
        if not model.spec.n_conditions:
            negative, regular = negative.mean(), (regular[0], regular[1].mean())
        return positive - negative + self.energy_weight * (regular[0] + regular[1])

    def _fantasy(self, model: EnergyModel, condition: Tensor, rng: Random) -> Tensor:
        chains = _buffer(model)
        if not model.training:
            return chains.as_they_are(condition, rng=rng)
        start = chains.oldest(condition, rng=rng)
        if self.restart > 0:
            fresh = rng.uniform(len(start), 1) < self.restart
            start = noise_like(start, model.spec, rng=rng).where(fresh, start)
        fantasy = self._moved(model, start, condition, self.n_steps, rng)
        chains.push(fantasy, condition)
        return fantasy

    def sample(
        self, model: EnergyModel, condition: Tensor, n_steps: int, *, rng: Random
    ) -> Tensor:
        """Moves from chains of the replay buffer that each event draws for itself."""
        start = _buffer(model).draw(len(condition), condition, rng=rng)
        return self._moved(model, start, condition, n_steps, rng)

    def check_up(
        self, model: EnergyModel, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[Tensor, Tensor]:
        """Data, and the chains as they are."""
        return x, _buffer(model).draw(len(x), condition, rng=rng)

    def _moved(
        self, model: EnergyModel, start: Tensor, condition: Tensor, n_steps: int, rng: Random
    ) -> Tensor:
        energy = lambda x: model.terms(x, condition).sum(0)
        return mcmc.run(model.kernel, energy, start, n_steps, rng=rng)[0]


def refuse_runaway(gap: float, spec: TensorSpec) -> None:
    """Refuse energies of data and chains that have nothing to do with each other."""
    if not abs(gap) < _RUNAWAY * spec.n_features:
        raise FloatingPointError(
            "the chains' energy ran away from the data's: their means are "
            f"{abs(gap):.3g} nats apart, for {spec.n_features} features; besides a lower "
            "learning_rate, more n_steps or a shorter step_size of the kernel help"
        )


def noise_like(x: Tensor, spec: TensorSpec, *, rng: Random) -> Tensor:
    """Standard normal numbers and fair spins."""
    noise = rng.normal(*x.shape)
    binary = torch.tensor(spec.binary, device=x.device)
    return torch.where(binary, torch.where(noise < 0, -1.0, 1.0), noise)


def _buffer(model: EnergyModel) -> PersistentChains:
    if model.chains is None:
        raise TypeError("this model was built for another objective and has no replay buffer")
    return model.chains
