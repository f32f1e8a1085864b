r"""Annealed importance sampling: partition functions, with an error bar.

Chains start as exact draws of a law whose :math:`\ln Z_0` is known and follow a path of energies
:math:`E_k = E_{\beta_k}`, k = 0 ... K, to the law that is wanted:

.. math:: \ln w = \sum_{k=1}^{K} \big(E_{k-1}(x_{k-1}) - E_k(x_{k-1})\big), \qquad
          Z_K = Z_0 \langle w \rangle

where :math:`x_k` comes from :math:`x_{k-1}` by moves that leave :math:`e^{-E_k}` invariant.
:math:`\langle w \rangle` has no bias, so its logarithm is too low on average (Jensen). The same
from exact draws of the target backward gives an estimate that is too high on average; the truth
lies between (bidirectional Monte Carlo).

Errors come from the bootstrap: as many chains are drawn from the chains, with replacement, 1000
times, and each such sample gives its :math:`\ln \langle w \rangle^*`, whose standard deviation is
the error bar. Where weights are unequal the rare large ones are missing in the mean and in its
error alike; the interval is therefore one of :math:`t^* = (\ln \langle w \rangle^* - \ln \langle w
\rangle) / \sigma^*` with the error :math:`\sigma^*` that the sample itself claims (studentized
bootstrap), which reaches farther to the side of the missing weights.

References
----------
Neal, *Annealed importance sampling*, physics/9803008, eqs. (3)-(11). Jarzynski, Phys. Rev. Lett.
78 (1997) 2690. Grosse, Ghahramani and Adams, arXiv:1511.02543 (sandwich). Efron and Tibshirani,
*An introduction to the bootstrap* (1993), secs. 6.2 and 12.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physgen.mcmc.chains import Seed, as_random, require_energy, run
from physgen.mcmc.kernels import Kernel
from physgen.mcmc.paths import Path, PathEnergy, require_betas

__all__ = ["LogZ", "annealed_importance", "reverse_annealed_importance"]

_N_RESAMPLES = 1000
# of more chains, groups are resampled: the mean of thousands says no more one by one
_MAX_RESAMPLED = 10_000
# numbers held at once while resampling, about 30 MB
_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class LogZ:
    """Logarithm of a partition function, in nats.

    Parameters
    ----------
    value : float
    std_error : float
        Standard error of ``value``, from the bootstrap over chains.
    effective_sample_size : float
        (sum w)^2 / sum w^2, between 1 and the number of chains. Below about 100 the error bar is
        too short on average, and below about 10 the value cannot be trusted either: take more
        betas.
    log_weights : Tensor of shape (n_chains,), float64
        ln w of the module's formula.
    reverse : bool, default False
        Whether the weights are of the way back, of :func:`reverse_annealed_importance`.

    Examples
    --------
    >>> print(LogZ(21.4125, 0.0021, 812.4, torch.zeros(1000)))
    21.4125 ± 0.0021 (812 of 1000 chains effective)
    """

    value: float
    std_error: float
    effective_sample_size: float
    log_weights: Tensor
    reverse: bool = False

    def __str__(self) -> str:
        return (
            f"{self.value:.4f} ± {self.std_error:.4f} "
            f"({self.effective_sample_size:.0f} of {len(self.log_weights)} chains effective)"
        )

    def pull(self, exact: float) -> float:
        """Deviation from the exact value in standard errors."""
        return (self.value - exact) / self.std_error

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval that covers ln Z with this probability, by the studentized bootstrap.

        Where the effective sample size is small it covers more often than ``value`` with its
        standard errors does, though still less often than ``level``.

        Parameters
        ----------
        level : float, default 0.95
            Between 0 and 1.

        Returns
        -------
        tuple of float
            Lower and upper end, in nats; infinite where the chains are too few to tell.

        Examples
        --------
        >>> log_weights = torch.randn(1000, generator=torch.Generator().manual_seed(1)).double()
        >>> mean = float(log_weights.exp().mean())
        >>> low, high = LogZ(math.log(mean), 0.04, 370.0, log_weights).interval()
        >>> low < 0.5 < high  # ln of the mean of a log-normal law
        True
        """
        if not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {level}")
        deviations, errors = _resampled(self.log_weights)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(deviations == 0, 0.0, deviations / errors)
        ends = np.array([(1 - level) / 2, (1 + level) / 2])
        # without interpolation, since some of few chains give an infinite t
        low, high = np.quantile(t, ends, method="inverted_cdf") * _relative_error(
            _relative_weights(self.log_weights)
        )
        if self.reverse:
            return self.value + float(low), self.value + float(high)
        return self.value - float(high), self.value - float(low)


def annealed_importance(
    kernel: Kernel,
    path: Path,
    start: Tensor,
    *,
    betas: Sequence[float],
    base_log_z: float,
    n_moves: int = 1,
    rng: Seed,
) -> LogZ:
    r"""Estimate ln Z of the last law of a path; too low on average, by half its variance.

    Parameters
    ----------
    kernel : Kernel
        Moves that leave each law of the path invariant; ``energy.beta`` tells which law it is.
    path : callable
        Energies :math:`E_\beta(x)`: :func:`tempered`, :func:`geometric` or any other.
    start : Tensor of shape (n_chains, ...)
        Exact, independent draws of the first law.
    betas : sequence of float
        Increasing; the first is the base law, the last the target. Steps small enough that
        ``effective_sample_size`` stays a good part of the chains.
    base_log_z : float
        ln Z of the first law, in nats: n ln 2 for n free spins.
    n_moves : int, default 1
        Moves at each beta; a sweep of single flips is as many as there are spins.
    rng : int, torch.Generator or Random

    Returns
    -------
    LogZ

    Raises
    ------
    ValueError
        If the betas do not increase, there is one chain only, or all weights are 0.

    Examples
    --------
    Two spins with energy -s_1 s_2, where Z = 4 cosh 1:

    >>> from physgen.mcmc import Gibbs, tempered
    >>> start = 1.0 - 2.0 * torch.randint(2, (500, 2), generator=torch.Generator().manual_seed(1))
    >>> log_z = annealed_importance(
    ...     Gibbs(), tempered(lambda s: -s[:, 0] * s[:, 1]), start,
    ...     betas=torch.linspace(0, 1, 11).tolist(), base_log_z=2 * math.log(2), rng=1,
    ... )
    >>> abs(log_z.pull(math.log(4 * math.cosh(1)))) < 3
    True
    """
    log_weights = _log_weights(kernel, path, start, require_betas(betas), n_moves, rng)
    return _log_z(log_weights, base_log_z, reverse=False)


def reverse_annealed_importance(
    kernel: Kernel,
    path: Path,
    start: Tensor,
    *,
    betas: Sequence[float],
    base_log_z: float,
    n_moves: int = 1,
    rng: Seed,
) -> LogZ:
    r"""Estimate ln Z of the last law of a path from draws of that law; too high on average.

    Where exact draws of the target exist (enumeration, a simulator with an exact sampler, long
    chains), forward and reverse estimate enclose the truth. The parameters are those of
    :func:`annealed_importance`, but ``start`` holds draws of the *last* law; ``log_weights`` are
    of the way back.

    Returns
    -------
    LogZ
    """
    backward = require_betas(betas)[::-1]
    log_weights = _log_weights(kernel, path, start, backward, n_moves, rng)
    return _log_z(log_weights, base_log_z, reverse=True)


def _log_weights(
    kernel: Kernel, path: Path, start: Tensor, betas: Sequence[float], n_moves: int, rng: Seed
) -> Tensor:
    """Logarithm of the weights, of shape (n_chains,), along betas in either direction."""
    if len(start) < 2:
        raise ValueError(f"an error bar needs two chains or more, got {len(start)}")
    random, state = as_random(rng, start), start
    energy = PathEnergy.at(path, betas[0], start)
    require_energy(energy, start)
    log_weights = torch.zeros_like(energy.beta)
    for beta in betas[1:]:
        following = PathEnergy.at(path, beta, start)
        with torch.no_grad():
            log_weights += energy(state) - following(state)
        energy = following
        if beta != betas[-1]:
            state, _ = run(kernel, energy, state, n_moves, rng=random)
    return log_weights


def _log_z(log_weights: Tensor, base_log_z: float, *, reverse: bool) -> LogZ:
    n_chains = len(log_weights)
    largest = float(log_weights.max())
    if not math.isfinite(largest) or log_weights.isnan().any():
        raise ValueError(
            f"{int((~log_weights.isfinite()).sum())} of {n_chains} weights are 0, infinite or "
            "NaN: the path's energies are not finite where its chains go"
        )
    weights = (log_weights - largest).exp()
    log_mean = largest + math.log(float(weights.mean()))
    deviations, _ = _resampled(log_weights)
    return LogZ(
        value=base_log_z + (-log_mean if reverse else log_mean),
        std_error=float(deviations.std(ddof=1)),
        effective_sample_size=float(weights.sum() ** 2 / weights.square().sum()),
        log_weights=log_weights,
        reverse=reverse,
    )


def _resampled(log_weights: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Deviations of ln <w> in bootstrap samples of the chains, and the error that each claims."""
    weights = _relative_weights(log_weights)
    # a seed of its own: the error of an estimate is a function of its weights
    rng, n_chains = np.random.default_rng(0), len(weights)
    n_rows = max(1, _BLOCK // n_chains)
    deviations, errors = [], []
    for first in range(0, _N_RESAMPLES, n_rows):
        n_samples = min(n_rows, _N_RESAMPLES - first)
        drawn = weights[rng.integers(n_chains, size=(n_samples, n_chains))]
        deviations.append(np.log(drawn.mean(axis=1)))
        errors.append(_relative_error(drawn))
    return np.concatenate(deviations), np.concatenate(errors)


def _relative_weights(log_weights: Tensor) -> NDArray[np.float64]:
    """Weights of chains or groups of them, over their mean; the smallest number instead of 0."""
    group = -(-len(log_weights) // _MAX_RESAMPLED)
    weights = (log_weights - log_weights.max()).exp().double().cpu().numpy()
    grouped = weights[: len(weights) // group * group].reshape(-1, group).mean(axis=1)
    relative: NDArray[np.float64] = grouped / grouped.mean()
    return np.maximum(relative, np.finfo(np.float64).tiny)


def _relative_error(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Error of ln <w> to first order in the spread of the weights, along the last axis."""
    spread = weights.std(axis=-1, ddof=1) / math.sqrt(weights.shape[-1])
    relative: NDArray[np.float64] = spread / weights.mean(axis=-1)
    return relative
