r"""Energy-based model trained by contrastive divergence with a replay buffer.

Symbols: event :math:`x`, condition :math:`c`, network :math:`f(x, c)`, real features R.

.. math:: p(x|c) \propto e^{-E(x, c)}, \qquad E(x, c) = f(x, c) + \sum_{i \in R} \frac{x_i^2}{2}

The quadratic term makes the law normalizable, whatever the network. The loss per event is

.. math:: E(x, c) - E(x', c) + \alpha \left(f(x, c)^2 + f(x', c)^2\right)

with chain states :math:`x'`, which go on from a replay buffer and are moved by a Markov kernel at
every update. Its gradient estimates that of :math:`-\ln p(x|c)`, and the last term holds the free
constant of the energy near zero.

References
----------
Hinton, *Training products of experts by minimizing contrastive divergence*, Neural Computation 14
(2002) 1771. Du and Mordatch, arXiv:1903.08689 (replay buffer, energy regularization).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen import mcmc
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.checks import refuse_one_hot, require_non_negative, require_positive
from physgen.models.moves import moves_on_features
from physgen.models.persistent import PersistentChains
from physgen.networks.mlp import MLP
from physgen.random import Random

__all__ = ["EBM", "EBMModel"]


@dataclass(frozen=True, kw_only=True)
class EBM:
    """Settings of an energy-based model.

    Parameters
    ----------
    n_hidden : int, default 128
        Width of the hidden layers of the energy.
    n_layers : int, default 2
        Number of hidden layers.
    kernel : Langevin or SingleFlip, optional
        The Markov move. By default Langevin for real features, single-flip Metropolis for binary
        ones, and the two in turn where there are both.
    n_steps : int, default 20
        Moves per update.
    n_steps_sample : int, default 100
        Moves from a chain of the replay buffer to a generated event.
    n_chains : int, default 1024
        Number of chains in the replay buffer.
    energy_weight : float, default 1e-3
        Weight alpha of the energy regularization.
    learning_rate : float, default 1e-3
        Peak rate of Adam.
    """

    n_hidden: int = 128
    n_layers: int = 2
    kernel: mcmc.Langevin | mcmc.SingleFlip | None = None
    n_steps: int = 20
    n_steps_sample: int = 100
    n_chains: int = 1024
    energy_weight: float = 1e-3
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_positive(self, "n_hidden", "n_layers", "n_steps", "n_steps_sample", "n_chains")
        require_positive(self, "learning_rate")
        require_non_negative(self, "energy_weight")

    def build(self, spec: TensorSpec) -> EBMModel:
        """Build the model; refuses a kernel that cannot move features of this kind."""
        refuse_one_hot("EBM", spec)
        return EBMModel(self, spec)


class EBMModel(GenerativeModel):
    """Energy-based model; formulas at the head of the module."""

    real: Tensor

    def __init__(self, settings: EBM, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.kernel = _kernel(settings.kernel, spec)
        self.register_buffer("real", ~torch.tensor(spec.binary), persistent=False)
        self.network = MLP(
            spec.n_features + spec.n_conditions,
            1,
            n_hidden=settings.n_hidden,
            n_layers=settings.n_layers,
        )
        self.chains = PersistentChains(spec, settings.n_chains)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player, "ebm"."""
        # without momentum: chains and energy chase each other, as the players of a GAN do
        rate = self.settings.learning_rate
        return {"ebm": torch.optim.Adam(self.parameters(), lr=rate, betas=(0.0, 0.99), fused=True)}

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Contrastive loss of the module's formula; its value is no likelihood.

        With conditions every event has its own chain; without, all share the chains' mean.
        """
        start = self.chains.oldest(condition, rng=rng)
        fantasy = self._moved(start, condition, self.settings.n_steps if self.training else 0, rng)
        if self.training:
            self.chains.push(fantasy, condition)
        positive, negative = self._loss_terms(x, condition), self._loss_terms(fantasy, condition)
        if not self.spec.n_conditions:
            negative = negative.mean(1, keepdim=True)
        regular = positive[1] + negative[1]
        return positive[0] - negative[0] + self.settings.energy_weight * regular

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events: moves from chains of the replay buffer that each event draws for itself."""
        start = self.chains.draw(n_events, condition, rng=rng)
        return self._moved(start, condition, self.settings.n_steps_sample, rng)

    def moves(self, n_steps: int, condition: Tensor | None = None) -> mcmc.SurrogateMoves:
        """Moves of the kernel as a proposal, with which a chain of another energy is exact.

        Spins are moved by SingleFlip, real features by Langevin with the Metropolis test, which
        makes it obey detailed balance with the model's energy.

        Parameters
        ----------
        n_steps : int
            Moves per proposal; for spins, a few times their number.
        condition : Tensor of shape (n_chains, n_conditions) or (1, n_conditions), optional
            Needed where the model has conditions; ``surrogate.preprocessor.condition`` makes it.

        Returns
        -------
        SurrogateMoves
            For states of shape (n_chains, ...) with n_features numbers per chain, flattened
            inside: spins of -1 and +1 as they are, other columns as the preprocessor makes them.

        Raises
        ------
        ValueError
            If the model has spins and real features, whose moves in turn are not reversible, or
            if the condition or, later, the states do not fit the model.

        References
        ----------
        Liu, Qi, Meng and Fu, Phys. Rev. B 95 (2017) 041101 (a learned energy proposes).
        """
        kernel = self.kernel
        if isinstance(kernel, mcmc.Blocks):
            raise ValueError(
                f"moves of an EBM need features of one kind, but {self.spec.n_binary} of the "
                f"{self.spec.n_features} are binary: moves of the two kinds in turn are not "
                "reversible, so they cannot be a proposal; an RBM has moves for both"
            )
        if isinstance(kernel, mcmc.Langevin):
            kernel = dataclasses.replace(kernel, adjust=True)

        def move(x: Tensor, c: Tensor, rng: Random) -> tuple[Tensor, mcmc.Info]:
            return kernel(lambda y: self.energy(y, c), x, rng=rng)

        like = next(self.parameters())
        return moves_on_features(self.energy, move, n_steps, condition, spec=self.spec, like=like)

    def energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """E(x, c) of the module's formula, shape (n_events,)."""
        return self._energy_terms(x, condition).sum(0)

    def _energy_terms(self, x: Tensor, condition: Tensor) -> Tensor:
        """Network and quadratic term, shape (2, n_events)."""
        f = self.network(torch.cat((x, condition), dim=1))[:, 0]
        return torch.stack((f, (x.square() * self.real).sum(1) / 2))

    def _loss_terms(self, x: Tensor, condition: Tensor) -> Tensor:
        """Energy and its regularization, shape (2, n_events)."""
        terms = self._energy_terms(x, condition)
        return torch.stack((terms.sum(0), terms[0].square()))

    def _moved(self, start: Tensor, condition: Tensor, n_steps: int, rng: Random) -> Tensor:
        energy = lambda x: self.energy(x, condition)
        state, _ = mcmc.run(self.kernel, energy, start, n_steps, rng=rng)
        return state


def _kernel(chosen: mcmc.Langevin | mcmc.SingleFlip | None, spec: TensorSpec) -> mcmc.Kernel:
    """Return the kernel chosen by the user or, without one, by the features."""
    if isinstance(chosen, mcmc.Langevin) and spec.n_binary:
        raise ValueError(
            f"EBM with kernel Langevin needs real features, but {spec.n_binary} of the "
            f"{spec.n_features} are binary (-1, +1); leave kernel=None or use SingleFlip()"
        )
    if isinstance(chosen, mcmc.SingleFlip) and spec.n_binary < spec.n_features:
        raise ValueError(
            f"EBM with kernel SingleFlip needs binary features (-1, +1), but only {spec.n_binary} "
            f"of the {spec.n_features} are; leave kernel=None or use Langevin()"
        )
    if chosen is not None:
        return chosen
    if spec.n_binary == 0:
        return _LANGEVIN
    if spec.n_binary == spec.n_features:
        return mcmc.SingleFlip()
    real = tuple(i for i, binary in enumerate(spec.binary) if not binary)
    spins = tuple(i for i, binary in enumerate(spec.binary) if binary)
    return mcmc.Blocks(kernels=(_LANGEVIN, mcmc.SingleFlip()), columns=(real, spins))


# without the Metropolis test: training and sampling share the bias of the step, so it cancels
_LANGEVIN = mcmc.Langevin(step_size=0.005)
