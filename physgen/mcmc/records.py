"""What chains showed: series of observables, and their means with errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physgen.mcmc.convergence import split_r_hat
from physgen.mcmc.diagnostics import ChainTooShortError
from physgen.mcmc.kernels import Energy, Info
from physgen.mcmc.measurement import Measurement, measure

__all__ = ["Chain", "Observable", "Recorder", "checked_observables", "one_per_chain"]

Observable = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chain:
    """Record of many chains that ran side by side.

    Parameters
    ----------
    state : Tensor of shape (n_chains, ...)
        Where the chains ended: the start of the next run.
    series : dict of array of shape (n_records, n_chains), float64
        By name, "energy" and the observables that were asked for.
    acceptance : array of shape (n_chains,)
        Mean probability with which a move was accepted.
    n_divergent : int
        Divergent moves of all chains (:class:`HMC`); a few of a million are no harm.
    thin : int
        Moves from record to record.
    states : Tensor of shape (n_records, n_chains, ...), optional
        The states recorded.
    """

    state: Tensor
    series: Mapping[str, NDArray[np.float64]]
    acceptance: NDArray[np.float64]
    n_divergent: int = 0
    thin: int = 1
    states: Tensor | None = None

    @property
    def n_records(self) -> int:
        """Records of each chain."""
        return len(self.series["energy"])

    def measure(self, *names: str, function: Callable[..., float] | None = None) -> Measurement:
        """Mean of an observable, or a function of several means, with an error that knows tau.

        Parameters
        ----------
        *names : str
            Of ``series``; several with a function of as many means, e.g.
            ``chain.measure("m2", "m4", function=lambda m2, m4: 1 - m4 / (3 * m2**2))``.
        function : callable, optional
            As in :func:`physgen.mcmc.measure`.

        Returns
        -------
        Measurement
            Its ``tau`` counts records, each of ``thin`` moves.

        Raises
        ------
        KeyError
            If there is no such series.
        ChainTooShortError
            If the chains are too short for their tau, with the estimate.
        """
        for name in names:
            if name not in self.series:
                raise KeyError(f"no series {name!r}; there are {', '.join(self.series)}")
        return measure([self.series[name] for name in names], function)

    def extend(self, later: Chain) -> Chain:
        """One record of this run and a later one that went on from ``state``.

        Raises
        ------
        ValueError
            If the two do not record the same of the same number of chains.
        """
        mine, other = self._layout(), later._layout()
        if mine != other:
            raise ValueError(f"a chain with {mine} cannot be extended by one with {other}")
        share = self.n_records / (self.n_records + later.n_records)
        return dataclasses.replace(
            later,
            series={n: np.concatenate((s, later.series[n])) for n, s in self.series.items()},
            acceptance=share * self.acceptance + (1 - share) * later.acceptance,
            n_divergent=self.n_divergent + later.n_divergent,
            states=None
            if self.states is None or later.states is None
            else torch.cat((self.states, later.states)),
        )

    def summary(self) -> str:
        """Table of means with errors, tau, effective samples and split R-hat, then acceptance.

        A series that is too short for its tau says so in place of an error.
        """
        width = max(11, *map(len, self.series))
        header = f"{'':{width}} {'mean':>13}   {'error':<10} {'tau':>8} {'ESS':>9} {'R-hat':>7}"
        lines = [header, *(self._line(name, width) for name in self.series)]
        low, mean, high = self.acceptance.min(), self.acceptance.mean(), self.acceptance.max()
        lines.append(
            f"{'acceptance':{width}} {mean:13.3f}   ({low:.3f} to {high:.3f} in "
            f"{len(self.acceptance)} chains of {self.n_records} records x {self.thin} moves)"
        )
        if self.n_divergent:
            lines.append(
                f"{'divergent':{width}} {self.n_divergent:13d}   moves: the step is too long "
                "somewhere"
            )
        return "\n".join(lines)

    def _line(self, name: str, width: int) -> str:
        series = self.series[name]
        try:
            m = measure(series)
        except ChainTooShortError as error:
            return (
                f"{name:{width}} {series.mean():13.6g}   too short for an error: tau is about "
                f"{error.tau:.3g} records or more"
            )
        return (
            f"{name:{width}} {m.value:13.6g} ± {m.std_error:<10.2g} {m.tau:8.2f} "
            f"{m.n_effective:9.0f} {split_r_hat(series):7.3f}"
        )

    def _layout(self) -> str:
        states = "" if self.states is None else " and states"
        n_chains = len(self.acceptance)
        return f"{n_chains} chains, thin={self.thin}, series {', '.join(self.series)}{states}"


class Recorder:
    """Collects records where the chains live; they come to the processor once, at the end."""

    def __init__(
        self, energy: Energy, observables: Mapping[str, Observable] | None, *, keep_states: bool
    ) -> None:
        self._functions = {"energy": energy, **checked_observables(observables)}
        self._series: dict[str, list[Tensor]] = {name: [] for name in self._functions}
        self._states: list[Tensor] | None = [] if keep_states else None
        self._acceptance: Tensor | float = 0.0
        self._divergent: Tensor | int = 0

    def add(self, state: Tensor, info: Info) -> None:
        """Record a state of shape (n_chains, ...)."""
        with torch.no_grad():
            for name, function in self._functions.items():
                self._series[name].append(one_per_chain(name, function(state), len(state)))
        if self._states is not None:
            self._states.append(state)
        self._acceptance = self._acceptance + info.acceptance.double()
        self._divergent = self._divergent + info.divergent

    def chain(self, state: Tensor, *, thin: int) -> Chain:
        """The record, with the state in which the chains ended."""
        series = {n: torch.stack(values).cpu().numpy() for n, values in self._series.items()}
        acceptance = torch.as_tensor(self._acceptance) / len(series["energy"])
        return Chain(
            state=state,
            series=series,
            acceptance=acceptance.cpu().numpy(),
            n_divergent=int(torch.as_tensor(self._divergent).sum()),
            thin=thin,
            states=None if self._states is None else torch.stack(self._states),
        )


def checked_observables(observables: Mapping[str, Observable] | None) -> Mapping[str, Observable]:
    """The observables asked for, none of them called "energy"."""
    if observables and "energy" in observables:
        raise ValueError("'energy' is recorded anyway; give the observable another name")
    return observables or {}


def one_per_chain(name: str, values: Tensor, n_chains: int) -> Tensor:
    """Values of an observable in float64; refuses any other shape."""
    if values.shape != (n_chains,):
        raise ValueError(
            f"observable {name!r} must return one number per chain, shape ({n_chains},), but "
            f"returned {tuple(values.shape)}"
        )
    return values.double()
