r"""Restricted Boltzmann machine with Ising and Gaussian visible units.

Symbols: visible :math:`v` (n_features), hidden :math:`h_j = \pm 1` (n_hidden), couplings
:math:`W` (n_features, n_hidden), biases :math:`a, b` (which may depend on the condition), widths
:math:`\sigma_i` of the real features; :math:`B` is the set of binary features, :math:`R` of the
real ones, and :math:`s_i = \sigma_i^2` for i in R, 1 for i in B.

.. math::

    E(v, h) = \sum_{i \in R} \frac{(v_i - a_i)^2}{2 \sigma_i^2} - \sum_{i \in B} a_i v_i
              - \sum_{ij} \frac{v_i}{s_i} W_{ij} h_j - \sum_j b_j h_j

    F(v) = -\ln \sum_h e^{-E(v, h)} = \sum_{i \in R} \frac{(v_i - a_i)^2}{2 \sigma_i^2}
           - \sum_{i \in B} a_i v_i - \sum_j \ln 2 \cosh\Big(b_j + \sum_i \frac{v_i}{s_i} W_{ij}
           \Big)

Given :math:`h`, the visible units are independent: :math:`p(v_i = 1) = \mathrm{sigmoid}\,
2(a_i + (W h)_i)` and :math:`N(a_i + (W h)_i, \sigma_i^2)`; given :math:`v`, so are the hidden
ones: :math:`p(h_j = 1) = \mathrm{sigmoid}\, 2 (b_j + \sum_i v_i W_{ij} / s_i)`.

The machine with units :math:`u, g` in {0, 1} of Hinton's guide is the same law:
:math:`v = 2u - 1, h = 2g - 1` turn :math:`W, a, b` into :math:`W' = 4W`,
:math:`a' = 2a - 2 W 1` and :math:`b' = 2b - 2 W^T 1`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physgen.mcmc import Info, SurrogateMoves
from physgen.models.base import GenerativeModel, TensorSpec
from physgen.models.checks import require_positive
from physgen.models.moves import moves_on_features
from physgen.models.persistent import PersistentChains
from physgen.networks.mlp import MLP
from physgen.random import Random

__all__ = ["RBM", "RBMModel"]

# 2^20 states of one layer: the exact partition function takes about a second
_MAX_ENUMERATED = 20

# share of a real feature's variance that the hidden units carry at the start, sigma^2 = 1 - share
# and sum_j W_ij^2 = share (1 - share): with W = 0 uncorrelated features would be a saddle
_EXPLAINED = 0.9


@dataclass(frozen=True, kw_only=True)
class RBM:
    """Settings of a restricted Boltzmann machine trained by persistent contrastive divergence.

    Parameters
    ----------
    n_hidden : int, default 128
        Number of hidden units.
    n_gibbs : int, default 10
        Block Gibbs steps per update; few are biased where the chains mix slowly.
    n_gibbs_sample : int, default 100
        Block Gibbs steps from a persistent chain to a generated event.
    n_chains : int, default 1024
        Number of persistent chains.
    learning_rate : float, default 1e-2
        Peak rate of Adam.

    References
    ----------
    Tieleman, *Training restricted Boltzmann machines using approximations to the likelihood
    gradient*, ICML 2008 (persistent chains). Liao et al., arXiv:2210.10318 (Gaussian visible
    units with learned widths).
    """

    n_hidden: int = 128
    n_gibbs: int = 10
    n_gibbs_sample: int = 100
    n_chains: int = 1024
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        require_positive(
            self, "n_hidden", "n_gibbs", "n_gibbs_sample", "n_chains", "learning_rate"
        )

    def build(self, spec: TensorSpec) -> RBMModel:
        """Build the machine for tensors of this shape."""
        return RBMModel(self, spec)


class RBMModel(GenerativeModel):
    """Restricted Boltzmann machine; formulas at the head of the module.

    With conditions, a small perceptron adds to the biases of both layers.
    """

    binary: Tensor

    def __init__(self, settings: RBM, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        n_visible, n_hidden = spec.n_features, settings.n_hidden
        self.register_buffer("binary", torch.tensor(spec.binary), persistent=False)
        self.couplings = nn.Parameter(torch.randn(n_visible, n_hidden) * self._initial_width())
        self.visible_bias = nn.Parameter(torch.zeros(n_visible))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))
        if spec.n_binary < n_visible:
            n_real = n_visible - spec.n_binary
            self.log_sigma = nn.Parameter(torch.full((n_real,), math.log(1 - _EXPLAINED) / 2))
        if spec.n_conditions:
            self.conditioner = MLP(
                spec.n_conditions, n_visible + n_hidden, n_hidden=64, n_layers=2
            )
        self.chains = PersistentChains(spec, settings.n_chains)

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player, "rbm"."""
        return {
            "rbm": torch.optim.Adam(self.parameters(), lr=self.settings.learning_rate, fused=True)
        }

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        r"""Free energy of the data minus that of the chains, one number per event.

        Its gradient estimates that of :math:`-\ln p(x)`; its value is no likelihood. With
        conditions every event has its own chain; without, all events share the chains' mean.
        """
        with torch.no_grad():
            start = self.chains.oldest(condition, rng=rng)
            n_steps = self.settings.n_gibbs if self.training else 0
            fantasy = self.gibbs(start, condition, n_steps, rng=rng)
            if self.training:
                self.chains.push(fantasy, condition)
        negative = self.free_energy(fantasy, condition)
        if not self.spec.n_conditions:
            negative = negative.mean()
        return self.free_energy(x, condition) - negative

    @torch.no_grad()
    def sample(self, n_events: int, condition: Tensor, *, rng: Random) -> Tensor:
        """Make events: Gibbs steps from persistent chains that each event draws for itself."""
        start = self.chains.draw(n_events, condition, rng=rng)
        return self.gibbs(start, condition, self.settings.n_gibbs_sample, rng=rng)

    def gibbs(self, v: Tensor, condition: Tensor, n_steps: int, *, rng: Random) -> Tensor:
        """Block Gibbs steps: all hidden units given the visible ones, then the reverse.

        Parameters
        ----------
        v : Tensor of shape (n_chains, n_features)
        condition : Tensor of shape (n_chains, n_conditions)
        n_steps : int
        rng : Random

        Returns
        -------
        Tensor of shape (n_chains, n_features)
        """
        a, b = self._biases(condition)
        for _ in range(n_steps):
            field = b + (v / self._scale()) @ self.couplings
            h = _spins(rng.uniform(*field.shape), field)
            v = self._visible(a + h @ self.couplings.T, rng)
        return v

    def moves(self, n_steps: int, condition: Tensor | None = None) -> SurrogateMoves:
        """Block Gibbs steps as a proposal, with which a chain of another energy is exact.

        They obey detailed balance with the free energy, so that neither the normalization of the
        machine nor a sample of it is needed: ``Metropolis(proposal=model.moves(10))`` moves
        states by the machine and decides by the energy that the chain is given.

        Parameters
        ----------
        n_steps : int
            Block Gibbs steps per proposal.
        condition : Tensor of shape (n_chains, n_conditions) or (1, n_conditions), optional
            Needed where the machine has conditions; ``surrogate.preprocessor.condition`` makes it.

        Returns
        -------
        SurrogateMoves
            For states of shape (n_chains, ...) with n_features numbers per chain, flattened
            inside: spins of -1 and +1 as they are, other columns as the preprocessor makes them.

        Raises
        ------
        ValueError
            If the condition or, later, the states do not fit the machine.

        References
        ----------
        Huang and Wang, Phys. Rev. B 95 (2017) 035105, sec. III.

        Examples
        --------
        >>> from physgen.mcmc import Metropolis, run_chains
        >>> model = RBM(n_hidden=2).build(TensorSpec(n_features=4, binary=(True,) * 4))
        >>> ring = lambda s: -0.5 * (s * s.roll(1, 1)).sum(1)
        >>> chain = run_chains(
        ...     Metropolis(proposal=model.moves(1)), ring, torch.ones(200, 4), n_steps=200, rng=1
        ... )
        >>> t = math.tanh(0.5)
        >>> abs(chain.measure("energy").pull(-2 * (t + t**3) / (1 + t**4))) < 3
        True
        """

        def block_gibbs(v: Tensor, c: Tensor, rng: Random) -> tuple[Tensor, Info]:
            return self.gibbs(v, c, 1, rng=rng), Info(v.new_ones(len(v)))

        return moves_on_features(
            self.energy, block_gibbs, n_steps, condition, spec=self.spec, like=self.couplings
        )

    def free_energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """F(v) of the module's formula, shape (n_events,)."""
        a, b = self._biases(condition)
        scale = self._scale()
        local = torch.where(self.binary, -a * x, (x - a).square() / (2 * scale))
        return local.sum(1) - _log_2_cosh(b + (x / scale) @ self.couplings).sum(1)

    def energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """Energy of the visible units alone, which is the free energy, shape (n_events,)."""
        return self.free_energy(x, condition)

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Exact ln p(x), where one layer is small enough for :meth:`log_partition`."""
        return -self.free_energy(x, condition) - self.log_partition(condition)

    def log_partition(self, condition: Tensor) -> Tensor:
        """Exact ln Z for each event's condition by enumeration of one layer.

        Returns
        -------
        Tensor of shape (n_events,)

        Raises
        ------
        ValueError
            If both layers have more than 20 units (real visible units cannot be enumerated).
        """
        if not self.spec.n_conditions:
            return self._log_partition(condition[:1]).expand(len(condition))
        return self._log_partition(condition)

    def _log_partition(self, condition: Tensor) -> Tensor:
        n_visible, n_hidden = self.couplings.shape
        all_binary = self.spec.n_binary == n_visible
        if n_hidden <= _MAX_ENUMERATED and not (all_binary and n_visible < n_hidden):
            return _log_sum(self._log_weight_of_hidden, n_hidden, condition)
        if all_binary and n_visible <= _MAX_ENUMERATED:
            return _log_sum(self._log_weight_of_visible, n_visible, condition)
        raise ValueError(
            f"the exact partition function needs a layer of at most {_MAX_ENUMERATED} binary "
            f"units, but this RBM has {n_hidden} hidden and {n_visible} visible units "
            f"({self.spec.n_binary} of them binary); use fewer hidden units"
        )

    def _log_weight_of_visible(self, v: Tensor, condition: Tensor) -> Tensor:
        return -self.free_energy(v, condition)

    def _log_weight_of_hidden(self, h: Tensor, condition: Tensor) -> Tensor:
        a, b = self._biases(condition)
        field = a + h @ self.couplings.T
        scale = self._scale()
        gauss = (field.square() - a.square()) / (2 * scale) + torch.log(2 * math.pi * scale) / 2
        visible = torch.where(self.binary, _log_2_cosh(field), gauss)
        return (h * b).sum(1) + visible.sum(1)

    def _biases(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Biases a and b, of shape (1 or n_events, n_features or n_hidden)."""
        both = torch.cat((self.visible_bias, self.hidden_bias))[None]
        if self.spec.n_conditions:
            both = both + self.conditioner(condition)
        n_visible = self.spec.n_features
        return both[:, :n_visible], both[:, n_visible:]

    def _scale(self) -> Tensor:
        """Scale s of the module's formula, shape (n_features,)."""
        scale = torch.ones_like(self.visible_bias)
        if self.spec.n_binary == self.spec.n_features:
            return scale
        return scale.masked_scatter(~self.binary, (2 * self.log_sigma).exp())

    def _initial_width(self) -> Tensor:
        """Standard deviation of the initial couplings, shape (n_features, 1)."""
        real = math.sqrt(_EXPLAINED * (1 - _EXPLAINED))
        width = torch.where(self.binary, 0.1, real) / math.sqrt(self.settings.n_hidden)
        return width[:, None]

    def _visible(self, field: Tensor, rng: Random) -> Tensor:
        if self.spec.n_binary == self.spec.n_features:
            return _spins(rng.uniform(*field.shape), field)
        real = field + self._scale().sqrt() * rng.normal(*field.shape)
        if self.spec.n_binary == 0:
            return real
        return torch.where(self.binary, _spins(rng.uniform(*field.shape), field), real)


def _spins(u: Tensor, field: Tensor) -> Tensor:
    """Spins -1 and +1 with p(+1) = sigmoid(2 field), from uniform numbers."""
    return torch.where(u < torch.sigmoid(2 * field), 1.0, -1.0)


def _log_2_cosh(x: Tensor) -> Tensor:
    return torch.logaddexp(x, -x)


def _log_sum(
    log_weight: Callable[[Tensor, Tensor], Tensor], n_spins: int, condition: Tensor
) -> Tensor:
    """Logarithm of the sum of the weights of all states of a layer, for each condition."""
    bits = torch.arange(n_spins, device=condition.device)
    total = condition.new_full((len(condition),), -math.inf)
    # in blocks: 2^20 states of 20 units at once would need gigabytes
    for block in torch.arange(2**n_spins, device=condition.device).split(2**14):
        spins = (((block[:, None] >> bits) & 1) * 2 - 1).to(condition.dtype)
        terms = torch.stack([log_weight(spins, c[None]) for c in condition])
        total = torch.logaddexp(total, torch.logsumexp(terms, dim=1))
    return total
