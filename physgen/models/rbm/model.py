"""The restricted Boltzmann machine as a generative model: learns, samples, and knows its law."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from physgen.mcmc import Info, SurrogateMoves
from physgen.models.base import GenerativeModel, LogPartition, TensorSpec
from physgen.models.moves import moves_on_features
from physgen.models.persistent import PersistentChains
from physgen.models.rbm import diagnosis, learning, partition, sampling
from physgen.models.rbm.chains import FastPCD
from physgen.models.rbm.layers import Hidden, Visible
from physgen.models.rbm.parameters import Layers, Parameters
from physgen.models.rbm.settings import RBM
from physgen.models.rbm.snapshots import Snapshots
from physgen.models.rbm.symmetry import Sharing
from physgen.models.rbm.trajectory import BlockGibbs, Trajectory
from physgen.networks.mlp import MLP
from physgen.random import Random

__all__ = ["RBMModel"]

# share of a real feature's variance that the hidden units carry at the start, sigma^2 = 1 - share
# and sum_j W_ij^2 = share (1 - share): with W = 0 uncorrelated features would be a saddle
_EXPLAINED = 0.9

# rate of the perceptron of the conditions, of which many numbers move one gain
_CONDITIONER_RATE = 0.1


class RBMModel(GenerativeModel):
    """Restricted Boltzmann machine; formulas at the head of :mod:`physgen.models.rbm`.

    With conditions, a small perceptron adds to the biases of both layers and multiplies the
    couplings of each hidden unit by a positive factor.
    """

    batch_means = ("visible_mean", "hidden_mean")
    fast: Tensor
    visible_bias: Tensor
    hidden_bias: Tensor
    visible_mean: Tensor
    hidden_mean: Tensor

    def __init__(self, settings: RBM, spec: TensorSpec) -> None:
        super().__init__()
        self.settings, self.spec = settings, spec
        self.layers = Layers(Visible(spec, settings.visible), Hidden(settings.hidden))
        self.visible_layer = self.layers.visible  # its buffers move with the model
        self.sharing = Sharing(settings, spec)
        self._make_parameters()
        way = settings.chains
        self.chains = PersistentChains(
            spec,
            way.n_chains,
            n_rungs=way.n_rungs,
            n_hidden=settings.n_hidden if way.keeps_hidden else 0,
        )
        self.register_buffer("visible_mean", torch.zeros(spec.n_features))
        self.register_buffer("hidden_mean", torch.zeros(settings.n_hidden))
        self.snapshots = Snapshots(settings.n_snapshots, len(self.numbers()))
        # what was found once for the parameters that come first
        self._known: tuple[Tensor, dict[object, Any]] = torch.zeros(0), {}
        if isinstance(settings.chains, FastPCD):
            self.register_buffer("fast", torch.zeros(len(self.numbers())))

    def _make_parameters(self) -> None:
        spec, sharing, visible = self.spec, self.sharing, self.layers.visible
        real = math.sqrt(_EXPLAINED * (1 - _EXPLAINED))
        width = torch.where(visible.real, real, 0.1) / math.sqrt(self.settings.n_hidden)
        width = width[:1] if sharing.translations else width[:, None]
        self.couplings = nn.Parameter(torch.randn(sharing.shape) * width)
        if sharing.n_visible:
            self.visible_bias = nn.Parameter(torch.zeros(sharing.n_visible))
            self.hidden_bias = nn.Parameter(torch.zeros(sharing.n_hidden))
        if visible.any_real:
            n_real = spec.n_features - spec.n_binary
            self.log_sigma = nn.Parameter(torch.full((n_real,), math.log(1 - _EXPLAINED) / 2))
        if spec.n_conditions:
            self.widths = (sharing.n_visible, sharing.n_hidden, sharing.n_columns)
            self.conditioner = MLP(spec.n_conditions, sum(self.widths), n_hidden=64, n_layers=2)
            # a machine that does not depend on the condition yet: random gains would be learned
            # back while the couplings grow
            for p in self.conditioner[-1].parameters():
                nn.init.zeros_(p)

    # ------------------------------------------------------------------ parameters

    def parameters_at(
        self, condition: Tensor, named: Mapping[str, Tensor] | None = None
    ) -> Parameters:
        """Biases, couplings and widths under these conditions.

        Parameters
        ----------
        condition : Tensor of shape (n_events, n_conditions)
        named : mapping of str to Tensor, optional
            Parameters by name in place of the model's own.
        """
        named = dict(self.named_parameters()) if named is None else named
        couplings = named["couplings"]
        none = couplings.new_zeros(0)
        a = self.sharing.visible(named.get("visible_bias", none)[None])
        b = self.sharing.hidden(named.get("hidden_bias", none)[None])
        gain = None
        if self.spec.n_conditions:
            inner = {n.partition(".")[2]: p for n, p in named.items() if n.startswith("cond")}
            added = torch.func.functional_call(self.conditioner, inner, condition)
            to_visible, to_hidden, to_gain = added.split(self.widths, dim=1)
            a, b = a + self.sharing.visible(to_visible), b + self.sharing.hidden(to_hidden)
            gain = self.sharing.hidden(to_gain).exp()
        couplings = self.sharing.couplings(couplings)
        return Parameters(self.layers, a, b, couplings, self._variance(named), gain)

    def _variance(self, named: Mapping[str, Tensor]) -> Tensor:
        """Squared widths of the real features, 1 elsewhere."""
        variance = named["couplings"].new_ones(self.spec.n_features)
        if not self.layers.visible.any_real:
            return variance
        return variance.masked_scatter(self.layers.visible.real, (2 * named["log_sigma"]).exp())

    def numbers(self) -> Tensor:
        """All parameters one after the other, as one vector."""
        return nn.utils.parameters_to_vector(self.parameters()).detach()

    def _named(self, numbers: Tensor) -> dict[str, Tensor]:
        """Parameters by name from one vector."""
        parts = numbers.split([p.numel() for p in self.parameters()])
        return {
            name: part.view_as(p)
            for (name, p), part in zip(self.named_parameters(), parts, strict=True)
        }

    def driven_parameters(self, condition: Tensor) -> Parameters:
        """Parameters with the fast addition of :class:`FastPCD`."""
        return self.parameters_at(condition, self._named(self.numbers() + self.fast))

    def trajectory(
        self, condition: Tensor, *, snapshots: bool = True, dtype: torch.dtype | None = None
    ) -> Trajectory:
        """The path from free units with the means of the data to this machine.

        Parameters
        ----------
        condition : Tensor of shape (1 or n_chains, n_conditions)
        snapshots : bool, default True
            By way of the machines that training passed; otherwise straight.
        dtype : torch.dtype, optional
            In which to compute, by default that of the parameters.
        """
        last = self.numbers()
        points = [self._free_numbers(), *(self.snapshots.taken() if snapshots else ()), last]
        stacked = torch.stack(points).to(dtype or last.dtype)
        c = condition.to(stacked)
        return Trajectory(stacked, lambda numbers: self.parameters_at(c, self._named(numbers)))

    def kernel(self, trajectory: Trajectory) -> BlockGibbs:
        """Block Gibbs steps along a trajectory, for tempering and annealing."""
        return BlockGibbs(trajectory)

    def _free_numbers(self) -> Tensor:
        """The machine without couplings that has the means of the data."""
        named = {name: p.detach().clone() for name, p in self.named_parameters()}
        variance = self._variance(named)
        for name in named:
            if name in ("couplings", "hidden_bias", "log_sigma"):
                named[name].zero_()
        if self.sharing.n_visible:
            bias = self.layers.visible.field_of(self.visible_mean, variance)
            named["visible_bias"] = self.sharing.free_visible(bias)
        if self.spec.n_conditions:
            last = len(self.conditioner) - 1
            named[f"conditioner.{last}.weight"].zero_()
            named[f"conditioner.{last}.bias"].zero_()
        return torch.cat([p.flatten() for p in named.values()])

    # ------------------------------------------------------------------ learning

    @property
    def gradient_scale(self) -> float:
        """Number of sites that share their parameters.

        Their gradients add up; clipped at 1, the mean of the skewed noise would not vanish where
        the gradient does.
        """
        return float(self.spec.n_features) if self.sharing.translations else 1.0

    def players(self) -> dict[str, torch.optim.Optimizer]:
        """One player, "rbm"."""
        rate = self.settings.learning_rate
        of_machine = [p for n, p in self.named_parameters() if not n.startswith("conditioner")]
        groups = [{"params": of_machine, "lr": rate}]
        if self.spec.n_conditions:
            slow = rate * _CONDITIONER_RATE
            groups.append({"params": list(self.conditioner.parameters()), "lr": slow})
        optimizer = torch.optim.Adam(groups, fused=True)
        step = learning.CenteredStep(self)
        optimizer.register_step_pre_hook(step.before)
        optimizer.register_step_post_hook(step.after)
        return {"rbm": optimizer}

    def loss(self, x: Tensor, condition: Tensor, *, player: str, rng: Random) -> Tensor:
        r"""Free energy of the data minus that of the chains, one number per event.

        Its gradient estimates that of :math:`-\ln p(x)`; its value is no likelihood. With
        conditions every event has its own chain; without, all events share the chains' mean.
        """
        if self.training:
            learning.before_update(self, x)
        with torch.no_grad():
            fantasy = self.settings.chains.fantasies(self, x, condition, rng=rng)
        p = self.parameters_at(condition)
        values, of_fantasy = p.values(x), p.values(fantasy)
        driven, hidden = p.hidden_field(of_fantasy), self.layers.hidden
        log_sum, mean = hidden.log_sum_and_mean(p.hidden_field(values))
        positive = p.free_energy_with(log_sum, x, values)
        negative = p.free_energy_with(hidden.log_sum_and_mean(driven)[0], fantasy, of_fantasy)
        if self.training:
            learning.follow_means(self, values.detach(), mean)
            self._keep(fantasy, driven.detach(), condition, rng)
        if not self.spec.n_conditions:
            negative = negative.mean()
        return positive - negative + self._penalty()

    @torch.no_grad()
    def _keep(self, fantasy: Tensor, field: Tensor, condition: Tensor, rng: Random) -> None:
        """Keep what the next update goes on from; ``field`` is that on the hidden units."""
        way = self.settings.chains
        hidden = self.layers.hidden.draw(field.clone(), rng) if way.keeps_hidden else None
        if way.n_rungs == 1:
            self.chains.push(fantasy, condition, hidden)

    def diagnose(
        self, x: Tensor, condition: Tensor, *, rng: Random
    ) -> tuple[dict[str, float], list[str]]:
        """What a look into the training shows.

        Returns
        -------
        dict of str to float
            Mean free energies of the data and of the chains, reconstruction error, pseudo
            log-likelihood, ln Z, log-likelihood per event in units of the preprocessed features
            with its error, the largest singular values of the couplings, and the mixing of
            chains: tau in block Gibbs steps, up to about 80, and split R-hat of as many steps.
        list of str
            A warning where the chains no longer mix, or their ladder is broken.
        """
        return diagnosis.diagnose(self, x, condition, rng)

    def _penalty(self) -> Tensor | float:
        penalty: Tensor | float = 0.0
        if self.settings.l1:
            penalty = self.settings.l1 * self.couplings.abs().sum()
        if self.settings.l2:
            penalty = penalty + self.settings.l2 / 2 * self.couplings.square().sum()
        return penalty

    # ------------------------------------------------------------------ sampling

    @torch.no_grad()
    def sample(
        self,
        n_events: int,
        condition: Tensor,
        *,
        rng: Random,
        n_steps: SupportsIndex | None = None,
        sampler: sampling.Sampler = "gibbs",
    ) -> Tensor:
        """Make events.

        Parameters
        ----------
        n_events : int
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_steps : int, optional
            Block Gibbs steps to each event, by default ``settings.n_steps_sample``.
        sampler : "gibbs", "pt" or "ptt", default "gibbs"
            Chains that go on from those of the training; or chains that start afresh from free
            units, and of which each has copies on a ladder of machines: those between free units
            and this one (parallel tempering), or those that the training passed (parallel
            trajectory tempering). A ladder costs as much as its number of rungs.
        """
        x = sampling.sample(self, n_events, condition, rng=rng, n_steps=n_steps, sampler=sampler)
        if not self.settings.flip_symmetric:
            return x
        return x * torch.where(rng.uniform(n_events, 1) < 0.5, -1.0, 1.0)

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
        return self.parameters_at(condition).gibbs(v, n_steps, rng)

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
        """Draw the unknown features of events given their known ones (clamped sampling).

        Parameters
        ----------
        x : Tensor of shape (n_events, n_features)
            The unknown features may hold anything.
        known : bool Tensor of shape (n_events, n_features) or (1, n_features)
            The features of a one-hot unit are known together or not at all.
        condition : Tensor of shape (n_events, n_conditions)
        rng : Random
        n_steps : int, optional
            Block Gibbs steps, by default ``settings.n_steps_sample``.

        Returns
        -------
        Tensor of shape (n_events, n_features)
            The known features as they were.

        Raises
        ------
        ValueError
            If a one-hot unit is known in part.
        """
        n = sampling.steps(n_steps, self)
        sampling.require_whole_units(self, known)
        p = self.parameters_at(condition)
        state = torch.where(known, x, self.chains.draw(len(x), condition, rng=rng))
        for _ in range(n):
            state = torch.where(known, x, p.gibbs(state, 1, rng))
        return state

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

    # ------------------------------------------------------------------ the law

    def free_energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """F(v) of the module's formula, shape (n_events,)."""
        return self.parameters_at(condition).free_energy(x)

    def energy(self, x: Tensor, condition: Tensor) -> Tensor:
        """Energy of the visible units alone, which is the free energy, shape (n_events,)."""
        return self.free_energy(x, condition)

    def coupling_matrix(self, condition: Tensor | None = None) -> Tensor:
        """Couplings of every feature to every hidden unit, (n_features, n_hidden).

        Symmetries are written out; with conditions, at one of shape (1, n_conditions).
        """
        given = self.couplings.new_zeros(1, self.spec.n_conditions)
        p = self.parameters_at(given if condition is None else condition)
        return (p.couplings if p.gain is None else p.couplings * p.gain).detach()

    def hidden_means(self, x: Tensor, condition: Tensor) -> Tensor:
        """Mean of each hidden unit given events: what the machine sees in them.

        Returns
        -------
        Tensor of shape (n_events, n_hidden)
        """
        p = self.parameters_at(condition)
        return self.layers.hidden.mean(p.hidden_field(p.values(x)))

    def log_prob(self, x: Tensor, condition: Tensor) -> Tensor:
        """Logarithm of p(x), shape (n_events,), with the partition function of :meth:`log_z`.

        Events under more than 64 different conditions need a layer small enough to enumerate.
        """
        return -self.free_energy(x, condition) - partition.of_each(self, condition)

    def known_log_z(self, condition: Tensor) -> LogPartition:
        """Logarithm of Z under one condition, found once for the parameters as they are."""
        key = ("log_z", *condition.flatten().tolist())
        return self._found_once(key, lambda: self.log_z(condition))

    def ladder(self, sampler: sampling.Sampler) -> tuple[float, ...]:
        """Places of the rungs of "pt" or "ptt" on their trajectory.

        Neighbors swap equally often, as chains of a fixed seed show.
        """
        return self._found_once(("ladder", sampler), lambda: sampling.ladder(self, sampler))

    def _found_once(self, key: object, find: Callable[[], Any]) -> Any:
        numbers = self.numbers().double().cpu()
        if not torch.equal(numbers, self._known[0]):
            self._known = numbers, {}
        known = self._known[1]
        if key not in known:
            known[key] = find()
        return known[key]

    def log_z(
        self,
        condition: Tensor | None = None,
        *,
        method: partition.Method = "automatic",
        n_chains: int = 1000,
        n_betas: int = 1000,
        rng: SupportsIndex | torch.Generator = 0,
    ) -> LogPartition:
        """Logarithm of the partition function under one condition.

        Parameters
        ----------
        condition : Tensor of shape (1, n_conditions), optional
            Needed where the machine has conditions.
        method : str, default "automatic"
            "exact" enumerates the smaller layer of binary units. "ais" anneals chains from free
            units with the means of the data, "trajectory" by way of the machines that the
            training passed; both are too low on average, by half their squared error.
            "reverse ais" and "reverse trajectory" go back from samples of the machine and are too
            high, if the samples are good. "automatic" is "exact" up to 16 units, else that one of
            "ais" and "trajectory" of which more chains count.
        n_chains, n_betas : int, default 1000
            Of the annealing.
        rng : int or torch.Generator, default 0

        Returns
        -------
        LogPartition
            Value, standard error and method.

        Raises
        ------
        ValueError
            If more than 25 units would have to be enumerated, or the condition does not fit.
        """
        return partition.log_z(
            self, condition, method=method, n_chains=n_chains, n_betas=n_betas, rng=rng
        )
