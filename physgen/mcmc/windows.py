r"""Windows: up to which lag an autocorrelation function is summed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

__all__ = ["SOKAL", "GammaWindow", "Sokal", "Window"]


class Window(Protocol):
    r"""Where to cut the sum over :math:`\rho`, which at large lags adds noise and no signal."""

    def __call__(self, tau: np.ndarray, n_samples: int) -> int | None:
        r"""Choose the last lag.

        Parameters
        ----------
        tau : array of shape (n_lags,)
            Partial sums :math:`\tau(W) = \tfrac12 + \sum_{t=1}^{W} \rho(t)`, W = 0, 1, ...
        n_samples : int
            Measurements over all chains.

        Returns
        -------
        int or None
            The window W; None if none of the lags is large enough.
        """


@dataclass(frozen=True)
class Sokal:
    r"""The smallest window with :math:`W \ge c\,\tau(W)`.

    What is left out is of relative size :math:`e^{-c}` for one exponential, so a larger factor
    means less bias and more noise. A :math:`\tau(W)` below 1/2 counts as 1/2.

    Parameters
    ----------
    factor : float, default 6.0
        The constant c; 4 to 10 are usual (emcee's 5 is 10 here, since its tau is doubled).

    References
    ----------
    Madras and Sokal, J. Stat. Phys. 50 (1988) 109, appendix C.

    Examples
    --------
    >>> Sokal()(np.full(100, 2.0), 1000)
    12
    """

    factor: float = 6.0

    def __post_init__(self) -> None:
        if not self.factor > 0:
            raise ValueError(f"factor of Sokal must be positive, got {self.factor}")

    def __call__(self, tau: np.ndarray, n_samples: int) -> int | None:
        """Choose the last lag, or None."""
        return _first(np.arange(len(tau)) >= self.factor * np.maximum(tau, 0.5))


@dataclass(frozen=True)
class GammaWindow:
    r"""The window of the Gamma method: smallest sum of truncation and statistical error.

    Takes the first minimum of :math:`e^{-W/\tau_e} + 2\sqrt{W/N}` with the decay time
    :math:`\tau_e = s / \ln[(2\tau(W)+1) / (2\tau(W)-1)]`.

    Parameters
    ----------
    s : float, default 1.5
        Decay time in units of what one exponential would have; 1 to 2 (pyerrors takes 2).

    References
    ----------
    Wolff, Computer Physics Communications 156 (2004) 143, hep-lat/0306017, section 3.

    Examples
    --------
    >>> GammaWindow()(np.full(100, 2.0), 1000)
    11
    """

    s: float = 1.5

    def __post_init__(self) -> None:
        if not self.s > 0:
            raise ValueError(f"s of GammaWindow must be positive, got {self.s}")

    def __call__(self, tau: np.ndarray, n_samples: int) -> int | None:
        """Choose the last lag, or None."""
        lags = np.arange(1, len(tau))
        doubled = 2 * np.maximum(tau[1:], 0.5 + np.finfo(float).eps)
        decay = self.s / np.log((doubled + 1) / (doubled - 1))
        slope = np.exp(-lags / decay) - decay / np.sqrt(lags * n_samples)
        before = _first(slope < 0)
        return None if before is None else before + 1


SOKAL = Sokal()


def _first(where: np.ndarray) -> int | None:
    return int(np.argmax(where)) if where.any() else None
