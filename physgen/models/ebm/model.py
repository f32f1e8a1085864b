r"""Energy-based model with any network, Markov kernel and objective.

Symbols: event :math:`x`, condition :math:`c`, network :math:`f(x, c)`, real features R.

.. math:: p(x|c) \propto e^{-E(x, c)}, \qquad
          E(x, c) = a f(x / \sqrt{v}, c) + \sum_{i \in R} \frac{x_i^2}{2 v}

The quadratic term makes the law normalizable for every network that grows more slowly. The
variance v and the amplitude a are 1 but for denoising score matching.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from types import NoneType

import torch
from torch import Tensor, nn

from physgen import mcmc
from physgen.checks import require_positive, whole_number
from physgen.models.base import GenerativeModel, LogPartition, TensorSpec
from physgen.models.checks import refuse_one_hot
from physgen.models.ebm.diagnosis import diagnosis
from physgen.models.ebm.energies import ConvEnergy, MLPEnergy
from physgen.models.ebm.kernels import (
    OF_NUMBERS,
    OF_SPINS,
    EnergyKernel,
    fitting_kernel,
    reversible,
)
from physgen.models.ebm.objectives import ContrastiveDivergence, Objective
from physgen.models.ebm.partition import annealed_log_z
from physgen.models.ebm.score import DenoisingScoreMatching, SlicedScoreMatching
from physgen.models.moves import moves_on_features
from physgen.random import Random, Rng

__all__ = ["EBM", "EBMModel"]

# what the parts of the settings are made by
_PARTS: dict[str, tuple[type, ...]] = {
    "network": (MLPEnergy, ConvEnergy),
    "kernel": (NoneType, *OF_NUMBERS, *OF_SPINS),
    "objective": (ContrastiveDivergence, DenoisingScoreMatching, SlicedScoreMatching),
}


@dataclass(frozen=True, kw_only=True)
class EBM:
    """Settings of an energy-based model.

    Parameters
    ----------
    network : MLPEnergy or ConvEnergy, default MLPEnergy()
        What the energy is made of; for a module of your own see
        :class:`physgen.models.ebm.EBMModel`.
    kernel : Langevin, HMC, SingleFlip, Gibbs or InformedFlip, optional
        The Markov move, from :mod:`physgen.mcmc`. By default Langevin for real features,
        single-flip Metropolis for binary ones, and the two in turn where there are both.
    objective : optional
        ContrastiveDivergence (default) for any features; DenoisingScoreMatching or
        SlicedScoreMatching for real ones.
    learning_rate : float, default 1e-3
        Peak rate of Adam.

    Examples
    --------
    >>> from physgen.mcmc import InformedFlip
    >>> from physgen.models import EBM, ConvEnergy, DenoisingScoreMatching
    >>> of_lattices = EBM(network=ConvEnergy(n_channels=16), kernel=InformedFlip())
    >>> of_numbers = EBM(objective=DenoisingScoreMatching(sigma=0.05))
    """

    network: MLPEnergy | ConvEnergy = field(default=MLPEnergy())
    kernel: EnergyKernel | None = None
    objective: ContrastiveDivergence | DenoisingScoreMatching | SlicedScoreMatching = field(
        default=ContrastiveDivergence()
    )
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate")
        for name, wanted in _PARTS.items():
            part = getattr(self, name)
            if not isinstance(part, wanted):
                makers = ", ".join(f"{kind.__name__}()" for kind in wanted if kind is not NoneType)
                raise TypeError(f"EBM: {name} must be made by one of {makers}, got {part!r}")

    def build(self, spec: TensorSpec) -> EBMModel:
        """Build the model; refuses what cannot serve features of this kind."""
        refuse_one_hot("EBM", spec)
        return EBMModel(self, spec)


class EBMModel(GenerativeModel):
    """Energy-based model; formulas at the head of the module.

    Parameters
    ----------
    settings : EBM
    spec : TensorSpec
        Of the features; ``Preprocessor.fit(events).spec`` for those of events.
    network : nn.Module, optional
        An energy of your own in place of ``settings.network``: ``f(x, inputs)`` of shape
        (n_events,) for x of shape (n_events, n_features) and inputs of shape (n_events,
        n_conditions), with the noise level as one more column for denoising score matching.

    Examples
    --------
    Two numbers whose energy depends on their distance from the origin alone. ``Surrogate.fit``
    takes such a model in the place of settings.

    >>> class OfTheRadius(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.layers = nn.Sequential(nn.Linear(1, 8), nn.SiLU(), nn.Linear(8, 1))
    ...
    ...     def forward(self, x, inputs):
    ...         return self.layers(x.norm(dim=1, keepdim=True))[:, 0]
    >>> model = EBMModel(EBM(), TensorSpec(n_features=2), network=OfTheRadius())
    >>> energy = model.energy(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.zeros(2, 0))
    >>> bool(energy[0] == energy[1])
    True
    """

    judges = True
    real: Tensor

    def __init__(
        self, settings: EBM, spec: TensorSpec, *, network: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.objective: Objective = settings.objective
        self.chains = self.objective.chains(spec)
        self.kernel = fitting_kernel(settings.kernel, spec, default=self.objective.kernel())
        self.register_buffer("real", ~torch.tensor(spec.binary), persistent=False)
        inputs = spec.n_conditions + self.objective.n_levels
        if network is None:
            network = settings.network.build(dataclasses.replace(spec, n_conditions=inputs))
        self.network = network

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player, "ebm"."""
        # without momentum: chains and energy chase each other, as the players of a GAN do
        rate = self.settings.learning_rate
        return {"ebm": torch.optim.Adam(self.parameters(), lr=rate, betas=(0.0, 0.99), fused=True)}

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Loss of the objective; its value is no likelihood."""
        return self.objective.loss(self, x, condition, rng=rng)

    @torch.no_grad()
    def sample(
        self, n_events: int, condition: Tensor, *, rng: Random, n_steps: int | None = None
    ) -> Tensor:
        """Make events as the objective says, with ``n_steps`` moves each."""
        if n_steps is None:
            n_steps = self.objective.n_steps_sample
        return self.objective.sample(self, condition, whole_number("n_steps", n_steps, 1), rng=rng)

    def diagnose(
        self, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[dict[str, float], list[str]]:
        """Energies of data and chains, their gap, and what the kernel does."""
        return diagnosis(self, self.objective, x, condition, rng=rng)

    def energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """E(x, c) of the module's formula, shape (n_events,)."""
        return self.terms(x, self.objective.inputs(condition)).sum(0)

    def terms(self, x: Tensor, inputs: Tensor) -> Tensor:
        """Network and quadratic term, shape (2, n_events)."""
        variance, amplitude = self.objective.scales(inputs)
        f = amplitude * self.network(x / variance[:, None].sqrt(), inputs)
        return torch.stack((f, (x.square() * self.real).sum(1) / (2 * variance)))

    def moves(
        self,
        n_steps: int,
        condition: Tensor | None = None,
        *,
        kernel: mcmc.Kernel | None = None,
    ) -> mcmc.SurrogateMoves:
        """Moves of the kernel as a proposal, with which a chain of another energy is exact.

        Langevin gets the Metropolis test, which makes it obey detailed balance with the model's
        energy.

        Parameters
        ----------
        n_steps : int
            Moves per proposal; for single spins, a few times their number.
        condition : Tensor of shape (n_chains, n_conditions) or (1, n_conditions), optional
            Needed where the model has conditions; ``surrogate.preprocessor.condition`` makes it.
        kernel : Kernel, optional
            In place of the model's own.

        Returns
        -------
        SurrogateMoves
            For states of shape (n_chains, ...) with n_features numbers per chain, flattened
            inside: spins of -1 and +1 as they are, other columns as the preprocessor makes them.

        Raises
        ------
        ValueError
            If the model has spins and real features, whose moves in turn are not reversible, if
            the kernel does not fit the features or is not reversible, or if the condition or,
            later, the states do not fit the model.

        References
        ----------
        Liu, Qi, Meng and Fu, Phys. Rev. B 95 (2017) 041101 (a learned energy proposes).
        """
        chosen = self.kernel
        if kernel is not None:
            chosen = fitting_kernel(kernel, self.spec, default=self.kernel)
        if isinstance(chosen, mcmc.Blocks):
            raise ValueError(
                f"moves of an EBM need features of one kind, but {self.spec.n_binary} of the "
                f"{self.spec.n_features} are binary: moves of the two kinds in turn are not "
                "reversible, so they cannot be a proposal; an RBM has moves for both"
            )
        chosen = reversible(chosen)

        def move(x: Tensor, c: Tensor, rng: Random) -> tuple[Tensor, mcmc.Info]:
            return chosen(lambda y: self.energy(y, c), x, rng=rng)

        like = next(self.parameters())
        return moves_on_features(self.energy, move, n_steps, condition, spec=self.spec, like=like)

    def log_z(
        self,
        condition: Tensor | None = None,
        *,
        n_chains: int = 256,
        n_betas: int = 500,
        n_moves: int = 1,
        rng: Rng = 0,
    ) -> LogPartition:
        r"""Estimate ln Z(c) by annealed importance sampling.

        The chains start as exact draws of the law without the network, normal numbers and fair
        spins, and follow :math:`E_\beta = \sum_R x_i^2 / 2 v + \beta f`.

        Parameters
        ----------
        condition : Tensor of shape (1, n_conditions), optional
            Needed where the model has conditions.
        n_chains, n_betas : int, default 256 and 500
            Independent chains, and steps from the one law to the other.
        n_moves : int, default 1
            Moves of the kernel at each beta.
        rng : int or torch.Generator, default 0

        Returns
        -------
        LogPartition
            Value, error and effective number of chains. Then ``-energy(x) - log_z.value`` is
            ln p(x), for real features per unit of the preprocessed ones.

        Raises
        ------
        ValueError
            If the condition does not fit.
        """
        given = self.real.new_zeros(1, 0).float() if condition is None else condition
        return annealed_log_z(
            self,
            self.objective,
            given,
            n_chains=n_chains,
            n_betas=n_betas,
            n_moves=n_moves,
            rng=rng,
        )
