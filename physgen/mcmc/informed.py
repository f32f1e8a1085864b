"""Metropolis moves of spins that look at all neighboring states before they choose a site."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.mcmc.binary import require_values
from physgen.mcmc.kernels import Energy, Info, energy_drop, metropolis_test
from physgen.random import Random

__all__ = ["InformedFlip"]

# the weights may be any function of the state, so a cut costs acceptance only; e^50 is never met
_LARGEST = 50.0


@dataclass(frozen=True, kw_only=True)
class InformedFlip:
    r"""Flip one spin per chain, drawn with probabilities that know the energy of every flip.

    .. math:: q(i|s) = \frac{g_i(s)}{g_0 + \sum_j g_j(s)}, \qquad g_i(s) = e^{-\Delta_i(s)/2},
              \qquad g_0 = 1

    with :math:`\Delta_i` the energy that the flip of spin i costs and :math:`g_0` the weight of
    staying. The flip is accepted with probability :math:`\min(1, e^{E(s) - E(s')} q(i|s') /
    q(i|s))`, so the law is exact whatever :math:`\Delta` is. Far fewer moves are refused than of
    :class:`SingleFlip`, and each costs more: it pays where most flips are hopeless.

    Parameters
    ----------
    gradient : bool, default True
        Estimate all differences at once from the gradient, :math:`\Delta_i = -2 s_i\, \partial
        E/\partial s_i`: two gradients per move; exact where E is at most linear in each spin
        (pair interactions), else good as far as E is smooth between -1 and +1. Otherwise evaluate
        the energies of all flips: 2 n energies per move, for energies without a useful gradient.
    barker : bool, default False
        Weights :math:`g_i = 2 / (1 + e^{\Delta_i})` in place of the square root: they are bounded,
        which helps where a start lies far from the typical states.

    Raises
    ------
    ValueError
        If the state holds other values than -1 and +1.
    TypeError
        If gradient=True and the energy cannot be differentiated.

    Notes
    -----
    Staying is one of the proposals since a kernel that always flips would keep chains of even
    and odd numbers of flips apart where nothing is refused.

    References
    ----------
    Zanella, *Informed proposals for local MCMC in discrete spaces*, J. Am. Stat. Assoc. 115
    (2020) 852, arXiv:1711.07424, eq. (3) and theorem 1. Grathwohl et al., *Oops I took a
    gradient*, arXiv:2102.04509, eq. (3) and algorithm 1.

    Examples
    --------
    >>> from physgen.random import PhiloxRandom
    >>> ring = lambda s: -0.8 * (s * s.roll(1, 1)).sum(1)
    >>> rng = PhiloxRandom(1, torch.arange(1000))
    >>> s, info = InformedFlip()(ring, torch.ones(1000, 32), rng=rng)
    >>> bool(info.acceptance.mean() > 0.5)
    True
    """

    gradient: bool = True
    barker: bool = False

    def __call__(self, energy: Energy, state: Tensor, *, rng: Random) -> tuple[Tensor, Info]:
        """Move all chains once; ``state`` has shape (n_chains, ...) with values -1 and +1."""
        require_values(state, (-1, 1), "InformedFlip", "; for 0 and 1 use Gibbs(values=(0, 1))")
        e_old, log_q = self._proposal(energy, state)
        # the uniform number decides between staying, which comes first, and the sites in order
        site = (rng.uniform(len(state), 1) > log_q.exp().cumsum(1)).sum(1, keepdim=True)
        stay, site = site == 0, (site - 1).clamp_(0, log_q.shape[1] - 2)
        spins = state.flatten(1)
        flipped = spins.scatter(1, site, -spins.gather(1, site))
        candidate = spins.where(stay, flipped).view_as(state)
        e_new, log_q_back = self._proposal(energy, candidate)
        chosen = (site + 1).where(~stay, 0)
        back = (log_q_back.gather(1, chosen) - log_q.gather(1, chosen))[:, 0]
        return metropolis_test(state, candidate, energy_drop(e_old, e_new) + back, rng=rng)

    def _proposal(self, energy: Energy, state: Tensor) -> tuple[Tensor, Tensor]:
        """Energies (n_chains,) and ln q (n_chains, 1 + n_spins) of staying and of each flip."""
        e, difference = (_by_gradient if self.gradient else _by_evaluation)(energy, state)
        # no finite energy: no flip there, and none is estimated from there
        delta = difference.double().nan_to_num(nan=_LARGEST).clamp(-_LARGEST, _LARGEST)
        log_g = math.log(2) - torch.nn.functional.softplus(delta) if self.barker else -delta / 2
        return e, torch.nn.functional.pad(log_g, (1, 0)).log_softmax(1)


def _by_gradient(energy: Energy, state: Tensor) -> tuple[Tensor, Tensor]:
    """Energies, and estimates of what each flip costs."""
    with torch.enable_grad():
        s = (state if state.is_floating_point() else state.float()).detach().requires_grad_()
        e = energy(s)
        if not e.requires_grad:
            raise TypeError(
                "InformedFlip needs an energy that torch can differentiate; use "
                "InformedFlip(gradient=False) or SingleFlip()"
            )
        (gradient,) = torch.autograd.grad(e.sum(), s)
    return e.detach(), (-2 * s.detach() * gradient).flatten(1)


@torch.no_grad()
def _by_evaluation(energy: Energy, state: Tensor) -> tuple[Tensor, Tensor]:
    """Energies, and what each flip costs."""
    spins, e = state.flatten(1), energy(state)
    flip = 1 - 2 * torch.eye(spins.shape[1], dtype=state.dtype, device=state.device)
    # one site at a time: an energy may hold something per chain, such as its condition
    flips = [energy((spins * f).view_as(state)) for f in flip]
    return e, torch.stack(flips, 1) - e[:, None]
