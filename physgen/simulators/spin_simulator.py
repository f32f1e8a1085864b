"""What all Ising simulators share: settings of the run, checks, and the stream of events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from physgen.events import Events
from physgen.random import Rng, as_seed, derived_seed
from physgen.schema import Field, Schema
from physgen.shards import event_range
from physgen.simulators import planning
from physgen.simulators.checks import (
    check_name,
    checked_beta,
    checked_count,
    checked_spins,
)
from physgen.simulators.farms import Farm, measured, starting_spins
from physgen.simulators.sampling import Sampler, chunk_size
from physgen.simulators.spin_model import Algorithm, SpinModel
from physgen.simulators.thermalization import Thermalization

__all__ = ["SpinSimulator"]

# a stream of its own: a surrogate called with the same seed must not follow the simulator
_STREAM = 2
_UNITS = {"energy": "J", "magnetization": ""}


@dataclass(frozen=True, kw_only=True)
class SpinSimulator(ABC):
    """Settings of a run and the stream of events; the model is the subclass's."""

    algorithm: Algorithm = "auto"
    start: Literal["cold", "hot"] = "cold"
    n_burn_in: int | None = None
    spacing: int | None = None
    observables: tuple[str, ...] = ()
    n_threads: int = 1
    device: str = "cpu"

    @property
    @abstractmethod
    def model(self) -> SpinModel:
        """Lattice, coupling and field."""

    def __post_init__(self) -> None:
        if isinstance(self.observables, str):
            object.__setattr__(self, "observables", (self.observables,))
        check_name("algorithm", self.algorithm, get_args(Algorithm))
        check_name("start", self.start, ("cold", "hot"))
        object.__setattr__(self, "observables", tuple(self.observables))
        for name in self.observables:
            check_name("observables", name, tuple(_UNITS))
        field = self.model.field
        if field and self.algorithm in ("wolff", "swendsen_wang"):
            raise ValueError(
                f"{self.algorithm} flips whole clusters, which is an exact move only where both "
                f"signs have the same energy, and field={field:g} breaks that; use "
                "algorithm='metropolis', 'heat_bath' or 'parallel_tempering'"
            )
        object.__setattr__(self, "device", str(self.device))
        if self.device != "cpu":
            self._check_device()
        if (self.n_burn_in is None) != (self.spacing is None):
            raise ValueError(
                "n_burn_in and spacing go together: give both, or neither to have them measured"
            )
        for name, low in (("n_burn_in", 0), ("spacing", 1), ("n_threads", 1)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, checked_count(name, getattr(self, name), low))

    def _check_device(self) -> None:
        from physgen.simulators import ising_cuda

        if self.algorithm not in ("auto", "metropolis", "heat_bath"):
            raise ValueError(
                f"algorithm={self.algorithm!r} runs on the CPU only; on {self.device!r} there are "
                "'metropolis' and 'heat_bath'"
            )
        ising_cuda.check_device(self.device)

    @property
    def schema(self) -> Schema:
        """Spins of -1 and +1, the inverse temperature, and the observables asked for."""
        model = self.model
        return Schema(
            (
                Field("spins", "int8", shape=model.lattice.shape, allowed=(-1, 1)),
                Field("beta", "float64", unit="1/J", role="condition"),
                *(Field(name, "float64", unit=_UNITS[name]) for name in self.observables),
            ),
            {"hamiltonian": model.hamiltonian, "spin_up": "+1"},
        )

    def __call__(
        self, n_events: int, conditions: Mapping[str, Any] | None = None, *, rng: Rng
    ) -> Events:
        """Draw independent configurations.

        Parameters
        ----------
        n_events : int
            At least 1.
        conditions : mapping
            ``{"beta": number or array of shape (n_events,)}``, 0 or more, in 1/J.
        rng : int or torch.Generator
            Seed. With one beta, event i depends only on (seed, i); with many, also on the others
            of its chunk. A GPU makes other events of a seed than a CPU, always the same.

        Raises
        ------
        ChainTooShortError
            If no burn-in suffices within 2^19 sweeps; ``.tau`` is the estimate.
        ValueError
            If beta is missing, negative or not finite, or n_events is below 1.
        """
        n_events = checked_count("n_events", n_events, 1)
        pieces = self.stream(n_events, conditions, rng=rng)
        columns = {f.name: np.empty((n_events, *f.shape), f.dtype) for f in self.schema}
        n_done = 0
        for piece in pieces:
            for name, whole in columns.items():
                whole[n_done : n_done + len(piece)] = piece[name]
            n_done += len(piece)
        return Events(piece.schema, columns)

    def stream(
        self,
        n_events: int,
        conditions: Mapping[str, Any] | None = None,
        *,
        rng: Rng,
        first_event: int = 0,
        stop_event: int | None = None,
    ) -> Iterator[Events]:
        """Yield the events of :meth:`__call__` in order, in pieces of at most 64 MB of spins.

        Parameters
        ----------
        n_events, conditions, rng
            As for a call.
        first_event, stop_event : int, optional
            Number of the first event to yield, and of the first one that is not: a stopped stream
            goes on with the same events, and jobs share one sample. Chunks of
            :meth:`chunk_size` events are made whole, so that jobs best begin at their edges.
        """
        n_events = checked_count("n_events", n_events, 1)
        beta = checked_beta(n_events, conditions, type(self).__name__)
        first_event, stop = event_range(n_events, first_event, stop_event)
        times, rungs = self._times(beta)
        schema = Schema(
            self.schema.fields, {**self.schema.conventions, "sampling": times.in_words()}
        )
        sampler = Sampler(
            model=self.model,
            make_farm=lambda b, seed: self._farm(
                times.algorithm, b, np.full(len(b), self.start == "hot"), seed
            ),
            n_lanes=self.n_lanes(times.algorithm),
            times=times,
            beta=beta,
            seed=derived_seed(as_seed(rng), _STREAM),
            rungs=rungs,
        )
        n_threads = self.n_threads if self.device == "cpu" else 1
        for first, spins in sampler.chunks(first_event, stop, n_threads):
            yield self._events(schema, spins, beta[first : first + len(spins)])

    def chunk_size(self, beta: Any) -> int:
        """Events that are made together at these inverse temperatures, in 1/J."""
        values = np.unique(checked_beta(np.size(beta), {"beta": beta}, type(self).__name__))
        return chunk_size(self.model.lattice.n_sites, self.n_lanes(self._algorithm(values)))

    def thermalization(self, beta: Any) -> Thermalization:
        """Measure how long to run at these inverse temperatures (kept for the next call).

        Parameters
        ----------
        beta : number or array
            In 1/J; of more than 16 values, 16 between the smallest and the largest are measured.
        """
        return self._times(checked_beta(np.size(beta), {"beta": beta}, type(self).__name__))[0]

    def energy(self, spins: np.ndarray) -> np.ndarray:
        """Energies of configurations, extensive, in units of J.

        Parameters
        ----------
        spins : array of shape (n_events, ...) with as many spins per event as the lattice

        Returns
        -------
        array of shape (n_events,), float64
        """
        return measured(self.model, checked_spins(spins, self.model.lattice.n_sites))[0]

    def reduced_energy(self, beta: float) -> Callable[[Tensor], Tensor]:
        """Beta times the energy, for the kernels of :mod:`physgen.mcmc`.

        Parameters
        ----------
        beta : float
            In 1/J.

        Returns
        -------
        callable
            Of states of -1 and +1, a Tensor of shape (n_chains, n_spins) or with all sides;
            gives a Tensor of shape (n_chains,).
        """
        lattice, model = self.model.lattice, self.model
        site = np.repeat(np.arange(lattice.n_sites), len(lattice.offsets))
        neighbor = lattice.neighbors[:, : len(lattice.offsets)].reshape(-1).astype(np.int64)
        bound = neighbor != site
        here, there = torch.from_numpy(site[bound]), torch.from_numpy(neighbor[bound])

        def energy(state: Tensor) -> Tensor:
            s = state.flatten(1).to(torch.get_default_dtype())
            bonds = (s[:, here] * s[:, there]).sum(dim=1)
            return -beta * (model.coupling * bonds + model.field * s.sum(dim=1))

        return energy

    def _events(self, schema: Schema, spins: np.ndarray, beta: np.ndarray) -> Events:
        spins = spins.reshape(-1, *self.model.lattice.shape)
        columns = {"spins": spins, "beta": beta.copy()}
        if "energy" in self.observables:
            columns["energy"] = self.energy(spins)
        if "magnetization" in self.observables:
            columns["magnetization"] = spins.reshape(len(spins), -1).mean(axis=1)
        return Events(schema, columns)

    def _algorithm(self, beta: np.ndarray) -> Algorithm:
        if self.algorithm != "auto":
            return self.algorithm
        lattice = self.model.lattice
        coupling = beta * abs(self.model.coupling)
        if coupling.max() < 0.2 or coupling.min() < 0.02:
            # where nearly every Metropolis move is accepted, all spins flip back and forth
            return "heat_bath"
        if self._walls_are_rare(coupling):
            return "swendsen_wang"
        near = np.abs(coupling / lattice.critical_coupling - 1) < 0.05
        large = min(lattice.shape) >= 128 and lattice.n_neighbors == 4 and self.device == "cpu"
        return "swendsen_wang" if large and near.any() and not self.model.field else "metropolis"

    def _walls_are_rare(self, coupling: np.ndarray) -> bool:
        """Whether walls across a narrow, ordered lattice would escape a trial of local moves."""
        shape, critical = self.model.lattice.shape, self.model.lattice.critical_coupling
        narrow = max(shape) >= 4 * min(shape) and self.device == "cpu" and not self.model.field
        return narrow and not self.model.frustrated and bool((coupling > 0.9 * critical).any())

    def _times(self, beta: np.ndarray) -> tuple[Thermalization, np.ndarray | None]:
        values = np.unique(beta)
        algorithm = self._algorithm(values)
        tempered = algorithm == "parallel_tempering"
        rungs = planning.rungs_for(self.model, values) if tempered else None
        nodes = planning.trial_betas(self.model, values, rungs)
        if self.n_burn_in is None or self.spacing is None:
            return planning.measured_times(self.model, algorithm, nodes), rungs
        chosen = self.n_burn_in, self.spacing
        return planning.chosen_times(self.model, algorithm, nodes, *chosen), rungs

    def _farm(self, algorithm: Algorithm, beta: np.ndarray, hot: np.ndarray, seed: int) -> Farm:
        if self.device == "cpu":
            return planning.make_farm(self.model, algorithm, beta, hot, seed)
        from physgen.simulators import ising_cuda

        start = starting_spins(self.model, beta, hot, derived_seed(seed, 0))
        seed = derived_seed(seed, 1)
        return ising_cuda.CudaFarm(
            self.model, beta, planning.rule_of(algorithm), start, seed, device=self.device
        )

    def n_lanes(self, algorithm: Algorithm) -> int:
        """Lattices of a farm of this algorithm on this device."""
        if self.device == "cpu":
            return planning.n_lanes(algorithm)
        from physgen.simulators import ising_cuda

        return ising_cuda.lanes_for(self.model.lattice.n_sites)
