r"""Masked diffusion of binary features: spins are masked at random, and a network puts them back.

A network learns the law of each masked spin given those that are known, for all sets of known
spins. A lattice is made from nothing but masks, a few sites at a time, in random order. With k of
N sites masked,

.. math:: -\ln p(x) \le \mathbb{E}_{k \sim U\{1..N\}} \, \mathbb{E}_{|M| = k} \Big[
          -\frac{N}{k} \sum_{i \in M} \ln p_\theta(x_i \,|\, x_{\setminus M}) \Big],

which is the loss. It is the continuous-time bound :math:`\mathbb{E}_t\, t^{-1} \sum_{masked}` of
masked diffusion with :math:`\alpha_t = 1 - t`, in which the integral over t at fixed k is done
(the number of masks is binomial, and the Beta integral gives 1/k), and so varies less.

References
----------
Sahoo et al., arXiv:2406.07524, eq. (10); Shi et al., arXiv:2406.04329 (masked diffusion).
Hoogeboom et al., arXiv:2110.02037, eq. (5) (the same bound for any-order autoregression).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn
from torch.nn import functional

from physgen.checks import require_positive, whole_number
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.masked_order import Lattice, counts, ranks
from physgen.networks.mlp import Perceptron, ResidualMLP
from physgen.networks.unet import UNet
from physgen.random import Random

__all__ = ["MaskedDiffusion", "MaskedDiffusionModel"]

_N_CONTEXT = 64


@dataclass(frozen=True, kw_only=True)
class MaskedDiffusion:
    """Settings of masked diffusion, for binary features such as the spins of a lattice.

    Parameters
    ----------
    network : UNet, Perceptron or None, default None
        None takes a U-Net where the features are one array, otherwise a perceptron.
    n_sampling_steps : int, default 64
        Calls of the network per event; the number of features is exact for what it has learned,
        fewer make several sites at once, as if they were independent given those known.
    learning_rate : float, default 2e-3
        Peak rate of Adam.
    flip_symmetric : bool, default False
        The law does not change when all features change their sign: an odd network, exactly.
    translation_symmetric : bool, default False
        The law does not change under translations along the periodic axes: events are moved by
        random translations, in training and after sampling. A U-Net of one level commutes with
        them anyway.

    Raises
    ------
    ValueError
        If a number is not positive.
    """

    network: UNet | Perceptron | None = None
    n_sampling_steps: int = 64
    learning_rate: float = 2e-3
    flip_symmetric: bool = False
    translation_symmetric: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "n_sampling_steps", "learning_rate")
        if not isinstance(self.network, UNet | Perceptron | None):
            raise TypeError(
                "MaskedDiffusion: network must be UNet(), Perceptron() or None, got "
                f"{self.network!r}"
            )

    def build(self, spec: TensorSpec) -> MaskedDiffusionModel:
        """Build the model for tensors of this spec.

        Raises
        ------
        ValueError
            If features are real or categorical, or do not have a symmetry that is asked for.
        """
        if spec.one_hot or spec.n_binary < spec.n_features:
            kind = "categorical" if spec.one_hot else "real"
            raise ValueError(
                "MaskedDiffusion makes features of two values (spins), but some of these are "
                f"{kind}; use {'RBM' if spec.one_hot else 'Diffusion'}, or choose other fields"
            )
        if self.translation_symmetric and not any(spec.periodic):
            raise ValueError(
                "MaskedDiffusion: translation_symmetric needs one array with periodic axes, such "
                f"as the spins of a lattice; these features have the shape "
                f"{spec.shape or 'of no array'} and no periodic axis"
            )
        return MaskedDiffusionModel(self, spec)


class MaskedDiffusionModel(GenerativeModel):
    """Laws of masked spins given known ones; an event with masks has zeros where they are."""

    splits_batches = True

    def __init__(self, settings: MaskedDiffusion, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.lattice = Lattice(spec, moves=self._is_moved())
        self.context = nn.Sequential(
            nn.Linear(2 + spec.n_conditions, _N_CONTEXT),
            nn.SiLU(),
            nn.Linear(_N_CONTEXT, _N_CONTEXT),
            nn.SiLU(),
        )
        self.network = _network(settings, spec)

    @property
    def gradient_scale(self) -> float:
        """Number of features: the loss is their sum."""
        return float(self.spec.n_features)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player: the network."""
        rate = self.settings.learning_rate
        return {
            "network": torch.optim.Adam(self.parameters(), lr=rate, betas=(0.9, 0.99), fused=True)
        }

    def logits(self, x: Tensor, condition: Tensor) -> Tensor:
        r"""Logarithm of :math:`p(x_i = +1) / p(x_i = -1)` of each feature given those known.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
            -1 and +1 where known, 0 where masked.
        condition : Tensor of shape (n_events, n_conditions)

        Returns
        -------
        Tensor of shape (n_events, n_features)
            Without meaning where x is known.
        """
        known = x.abs()
        number = known.sum(1, keepdim=True)
        n = self.spec.n_features
        # one known spin of many matters as much as the last half of them
        times = torch.cat((2 * number / n - 1, number.log1p() / number.new_tensor(n).log1p()), 1)
        context = self.context(torch.cat((times, condition), dim=1))

        def at(spins: Tensor) -> Tensor:
            return self.network(torch.cat((known, spins), 1), context, condition)

        if self.settings.flip_symmetric and not getattr(self.network, "odd", False):
            return (at(x) - at(-x)) / 2
        return at(x)

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        """Bound on -ln p(x), in nats, of shape (n_events,), with one set of masks per event."""
        # evenly spaced numbers of masks over the batch: the bound varies less
        start = rng.uniform(1)
        time = (start + torch.arange(len(x), device=x.device) / len(x)) % 1.0
        return self._bound(self.lattice.moved(x, rng=rng), condition, time, rng)

    def _bound(self, x: Tensor, condition: Tensor, time: Tensor, rng: Random) -> Tensor:
        """The bound with ``floor(n_features * time) + 1`` masks, at random places."""
        n = x.shape[1]
        n_masks = (n * time).long().clamp(max=n - 1)[:, None] + 1
        masked = ranks(rng.uniform(*x.shape)) < n_masks
        logits = self.logits(torch.where(masked, 0.0, x), condition)
        missing = torch.where(masked, functional.softplus(-x * logits), 0.0)
        return n / n_masks[:, 0] * missing.sum(dim=1)

    @torch.no_grad()
    def elbo(
        self, x: Tensor, condition: Tensor, *, rng: Random, n_samples: SupportsIndex = 32
    ) -> tuple[Tensor, Tensor]:
        """Lower bound on ln p(x) of events, and its standard error.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_samples : int, default 32
            Sets of masks per event, at least 2, with evenly spaced numbers of masks: the error is
            that of independent ones, and so a little too large.

        Returns
        -------
        elbo, std_error : Tensor of shape (n_events,)
            In nats.
        """
        n = whole_number("n_samples", n_samples, 2)
        total, square = x.new_zeros(2, len(x), dtype=torch.float64)
        for k in range(n):
            time = (k + rng.uniform(len(x))) / n
            one = -self._bound(self.lattice.moved(x, rng=rng), condition, time, rng).double()
            total, square = total + one, square + one.square()
        variance = (square / n - (total / n).square()) * n / (n - 1)
        return total / n, (variance.clamp_min(0) / n).sqrt()

    @torch.no_grad()
    def sample(
        self,
        n_events: int,
        condition: Tensor,
        *,
        rng: Random,
        n_steps: SupportsIndex | None = None,
        corrector: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        """Make events: unmask random sites, a few at a time.

        Parameters
        ----------
        n_events : int
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_steps : int, optional
            Calls of the network, by default ``settings.n_sampling_steps``.
        corrector : callable, optional
            ``corrector(x, rng=rng)`` moves the finished events, such as a
            :class:`~physgen.models.Corrector` with a known energy.

        Returns
        -------
        Tensor of shape (n_events, n_features)
        """
        x, _ = self.propose(n_events, condition, rng=rng, n_steps=n_steps)
        return x if corrector is None else corrector(x, rng=rng)

    @torch.no_grad()
    def propose(
        self,
        n_events: int,
        condition: Tensor,
        *,
        rng: Random,
        n_steps: SupportsIndex | None = None,
    ) -> tuple[Tensor, Tensor]:
        r"""Events, and the logarithm of the probability to make them in the order they came.

        The order o of the sites is drawn without regard to the spins, so that the weights
        :math:`e^{-E(x)} / q(x | o)` of these pairs are right for every energy E: their mean is Z,
        and :func:`physgen.mcmc.independence_chains` of them has the law of E exactly.

        Returns
        -------
        x : Tensor of shape (n_events, n_features)
        log_prob : Tensor of shape (n_events,), float64
            :math:`\ln q(x | o)`, for any number of steps.
        """
        masks = torch.zeros(n_events, self.spec.n_features, device=condition.device)
        x, log_prob = self._unmask(masks, condition, rng, self._steps(n_steps))
        return self.lattice.moved(x, rng=rng), log_prob

    @torch.no_grad()
    def complete(
        self,
        x: Tensor,
        known: Tensor,
        condition: Tensor,
        *,
        rng: Random,
        n_steps: SupportsIndex | None = None,
    ) -> Tensor:
        """Draw the unknown features of events given their known ones.

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
            The unknown features may hold anything.
        known : bool Tensor of shape (n_events, n_features) or (1, n_features)
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_steps : int, optional
            Calls of the network, by default ``settings.n_sampling_steps``.

        Returns
        -------
        Tensor of shape (n_events, n_features)
            The known features as they were.
        """
        shift = self.lattice.shifts(len(x), rng=rng)
        start = self.lattice.rolled(torch.where(known, x, 0.0), shift)
        made, _ = self._unmask(start, condition, rng, self._steps(n_steps))
        return torch.where(known, x, self.lattice.rolled(made, -shift))

    def _unmask(
        self, x: Tensor, condition: Tensor, rng: Random, n_steps: int
    ) -> tuple[Tensor, Tensor]:
        """Put spins in place of the zeros of x; with the logarithm of their probability."""
        step = self.lattice.groups(
            rng.uniform(*x.shape), x == 0, counts(self.spec.n_features, n_steps)
        )
        u, log_prob = rng.uniform(*x.shape), x.new_zeros(len(x), dtype=torch.float64)
        for k in range(n_steps):
            made = step == k
            if bool(made.any()):
                logits = self.logits(x, condition)
                spins = torch.where(u < logits.sigmoid(), 1.0, -1.0)
                gain = functional.logsigmoid(spins * logits).double()
                log_prob += torch.where(made, gain, 0.0).sum(1)
                x = torch.where(made, spins, x)
        return x, log_prob

    def _steps(self, n_steps: SupportsIndex | None) -> int:
        chosen = self.settings.n_sampling_steps if n_steps is None else n_steps
        return min(whole_number("n_steps", chosen, 1), self.spec.n_features)

    def _is_moved(self) -> bool:
        network = self.settings.network or UNet()
        commutes = isinstance(network, UNet) and network.n_levels == 1
        return self.settings.translation_symmetric and not commutes


def _network(settings: MaskedDiffusion, spec: TensorSpec) -> nn.Module:
    """The network of two arrays: which features are known, and their values."""
    chosen: Any = settings.network or (UNet() if spec.shape else Perceptron())
    if isinstance(chosen, UNet):
        return chosen.build(spec, _N_CONTEXT, n_inputs=2, odd=settings.flip_symmetric)
    n = spec.n_features
    return ResidualMLP(2 * n, n, _N_CONTEXT, n_hidden=chosen.n_hidden, n_blocks=chosen.n_blocks)
