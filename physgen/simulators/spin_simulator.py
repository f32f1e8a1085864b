"""What all Ising simulators share: settings of the run, checks, and the stream of events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from physgen.events import Events
from physgen.random import Rng, as_seed, derived_seed
from physgen.schema import Field, Schema
from physgen.simulators.checks import check_name, checked_beta
from physgen.simulators.farms import (
    BitFarm,
    Farm,
    SwendsenWangFarm,
    WolffFarm,
    measured,
    starting_spins,
)
from physgen.simulators.sampling import Sampler
from physgen.simulators.spin_model import Algorithm, Rule, SpinModel
from physgen.simulators.tempered import TemperedFarm, ladder
from physgen.simulators.thermalization import Thermalization, thermalize

__all__ = ["SpinSimulator", "make_farm"]

# byte-coded lattices are moved one after the other, so a farm of many would gain nothing
_N_CLUSTER_LANES = 32
# temperatures at which burn-in and spacing are measured, with 8 lattices or more each
_N_NODES = 16
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
        if self.device != "cpu":
            self._check_device()
        if (self.n_burn_in is None) != (self.spacing is None):
            raise ValueError(
                "n_burn_in and spacing go together: give both, or neither to have them measured"
            )
        for name, low in (("n_burn_in", 0), ("spacing", 1), ("n_threads", 1)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name} must be {low} or more, got {value}")

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
        pieces = self.stream(n_events, conditions, rng=rng)
        columns = {f.name: np.empty((max(n_events, 0), *f.shape), f.dtype) for f in self.schema}
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
        start: int = 0,
    ) -> Iterator[Events]:
        """Yield the events of :meth:`__call__` in order, in pieces of at most 64 MB of spins.

        Parameters
        ----------
        n_events, conditions, rng
            As for a call.
        start : int, default 0
            Number of the first event to yield: a stopped stream goes on from there with the
            same events.
        """
        beta = checked_beta(n_events, conditions, type(self).__name__)
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
        for first, spins in sampler.chunks(start, self.n_threads if self.device == "cpu" else 1):
            yield self._events(schema, spins, beta[first : first + len(spins)])

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
        flat = np.ascontiguousarray(spins, dtype=np.int8).reshape(-1, self.model.lattice.n_sites)
        return measured(self.model, flat)[0]

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
        rungs = self._rungs(values) if algorithm == "parallel_tempering" else None
        if self.n_burn_in is not None and self.spacing is not None:
            return Thermalization.given(values, algorithm, self.n_burn_in, self.spacing), rungs
        return _measured_times(self.model, algorithm, _nodes(self.model, values, rungs)), rungs

    def _rungs(self, values: np.ndarray) -> np.ndarray:
        most = _n_lanes("parallel_tempering") // 8
        if len(values) > most:
            raise ValueError(
                f"parallel tempering keeps every beta on its ladder, at most {most} of them; "
                f"got {len(values)}; use another algorithm"
            )
        hot_end = 0.8 * _critical_beta(self.model)
        if values[0] > hot_end:
            # a ladder must reach into the disordered phase, where configurations forget
            values = np.append(hot_end, values)
        rungs = _ladder(self.model, tuple(values))
        if len(rungs) > most:
            raise ValueError(
                f"a ladder from beta = {values[0]:g} to {values[-1]:g} needs {len(rungs)} rungs "
                f"on this lattice, more than {most}; ask for a narrower range or a smaller lattice"
            )
        return rungs

    def _farm(self, algorithm: Algorithm, beta: np.ndarray, hot: np.ndarray, seed: int) -> Farm:
        if self.device == "cpu":
            return make_farm(self.model, algorithm, beta, hot, seed)
        from physgen.simulators import ising_cuda

        start = starting_spins(self.model, beta, hot, derived_seed(seed, 0))
        seed = derived_seed(seed, 1)
        return ising_cuda.CudaFarm(
            self.model, beta, _rule(algorithm), start, seed, device=self.device
        )

    def n_lanes(self, algorithm: Algorithm) -> int:
        """Lattices of a farm of this algorithm on this device."""
        if self.device == "cpu":
            return _n_lanes(algorithm)
        from physgen.simulators import ising_cuda

        return ising_cuda.lanes_for(self.model.lattice.n_sites)


def make_farm(
    model: SpinModel, algorithm: Algorithm, beta: np.ndarray, hot: np.ndarray, seed: int
) -> Farm:
    """Lattices of an algorithm at their starts; beta and hot of shape (n_lanes,)."""
    spins = starting_spins(model, beta, hot, derived_seed(seed, 0))
    seed = derived_seed(seed, 1)
    if algorithm == "wolff":
        return WolffFarm(model, beta, spins, seed)
    if algorithm == "swendsen_wang":
        return SwendsenWangFarm(model, beta, spins, seed)
    if algorithm == "parallel_tempering":
        return TemperedFarm(model, beta, spins, seed)
    return BitFarm(model, beta, _rule(algorithm), spins, seed)


def _rule(algorithm: Algorithm) -> Rule:
    return "heat_bath" if algorithm == "heat_bath" else "metropolis"


def _n_lanes(algorithm: Algorithm) -> int:
    return _N_CLUSTER_LANES if algorithm in ("wolff", "swendsen_wang") else BitFarm.n_lanes


def _nodes(model: SpinModel, values: np.ndarray, rungs: np.ndarray | None) -> tuple[float, ...]:
    """Temperatures to measure at: all, or a grid with the slowest one, the critical point."""
    if rungs is not None:
        return tuple(rungs)
    if len(values) <= _N_NODES:
        return tuple(values)
    slowest = np.clip(_critical_beta(model), values[0], values[-1])
    grid = np.append(np.linspace(values[0], values[-1], _N_NODES - 1), slowest)
    return tuple(np.unique(grid))


def _critical_beta(model: SpinModel) -> float:
    return model.lattice.critical_coupling / abs(model.coupling) if model.coupling else 1.0


@lru_cache(maxsize=64)
def _measured_times(
    model: SpinModel, algorithm: Algorithm, nodes: tuple[float, ...]
) -> Thermalization:
    return thermalize(
        lambda beta, hot: make_farm(model, algorithm, beta, hot, seed=0),
        np.asarray(nodes),
        max(_n_lanes(algorithm), 8 * len(nodes)),
        model,
        algorithm,
    )


@lru_cache(maxsize=16)
def _ladder(model: SpinModel, values: tuple[float, ...]) -> np.ndarray:
    """Rungs at the energy fluctuations that a short run from cold starts shows."""
    nodes = np.linspace(values[0], values[-1], _N_NODES)
    lane = np.arange(BitFarm.n_lanes) * _N_NODES // BitFarm.n_lanes
    farm = make_farm(model, "metropolis", nodes[lane], np.zeros(len(lane), dtype=bool), seed=1)
    farm.sweep(200)
    energies = []
    for _ in range(50):
        farm.sweep(4)
        energies.append(farm.measure()[0])
    sigma = [np.std([e[lane == k] for e in energies]) for k in range(_N_NODES)]
    return ladder(np.asarray(values), nodes, np.asarray(sigma))
