"""The command ``physgen simulate ising``: a stream of configurations to a file, with a summary."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from physgen.events import Events
from physgen.files.parts import (
    check_stream_target,
    n_safe_events,
    parts_folder,
    write_stream,
)
from physgen.shards import Shard
from physgen.shell_ising_options import Temperatures, read_sides, read_temperatures
from physgen.shell_ising_progress import Meter, progress
from physgen.shell_ising_table import Tally, table
from physgen.shell_ising_uniform import UniformTally, uniform_table
from physgen.shell_options import Count, Output, Seed, Sharded, Whole, say

if TYPE_CHECKING:
    from physgen.simulators.spin_simulator import SpinSimulator
    from physgen.simulators.thermalization import Thermalization

__all__ = ["ising"]

stderr = Console(stderr=True)

_STOPPED = 130
_TABLE_WIDTH = 200

Leading = Parameter(allow_leading_hyphen=True)


def ising(
    *,
    n_events: Count,
    output: Output,
    side: Annotated[str, Leading] = "32",
    beta: Annotated[str | None, Leading] = None,
    temperature: Annotated[str | None, Leading] = None,
    coupling: float = 1.0,
    field: float = 0.0,
    boundary: str = "periodic",
    lattice: str = "square",
    algorithm: str = "auto",
    start: str = "cold",
    n_burn_in: Annotated[int | None, Whole] = None,
    spacing: Annotated[int | None, Whole] = None,
    observables: str | None = None,
    n_threads: Annotated[int, Whole, Parameter(name=["--n-threads", "--threads"])] = 1,
    device: str = "cpu",
    shard: Sharded = Shard(),  # noqa: B008  # frozen
    seed: Seed = 0,
) -> int:
    """Draw independent configurations of the Ising model in two or three dimensions.

    Example: `physgen simulate ising --side 32 --beta 0.3:0.6:13 -n 100000 -o ising.h5`

    The events stand in order of beta, so the first of them are no fair sample of all;
    `Events.split` in Python draws at random. Of `--beta uniform:first:last`, which a surrogate
    conditional on beta learns from, the order is random.

    After Ctrl-C, or whatever stopped it, the same command goes on with the same configurations.

    Parameters
    ----------
    n_events
        Number of configurations, shared equally between the temperatures.
    output
        File to write; its suffix decides the format (.h5, .root).
    side
        Side of a square lattice, or all sides: 24x32, 8x8x8.
    beta
        Inverse temperature in 1/J: a number, first:last:count, or a list with commas (two whole
        numbers as 1.0,2.0, since 0,4 could be 0.4); uniform:0.3:0.6 draws one for each event.
    temperature
        Temperature in J instead, in the same form.
    coupling
        J; negative for an antiferromagnet.
    field
        h in the unit of J.
    boundary
        periodic or open.
    lattice
        Of two dimensions: square or triangular.
    algorithm
        auto, metropolis, heat-bath, wolff, swendsen-wang or parallel-tempering.
    start
        cold for ground states, hot for random spins.
    n_burn_in
        Sweeps before the first configuration of a lattice; measured by default.
    spacing
        Sweeps between two configurations of a lattice; measured by default.
    observables
        Columns to add: energy, magnetization, or both with a comma.
    n_threads
        The configurations do not depend on it.
    device
        cpu, or cuda for metropolis and heat-bath.
    seed
        The same seed gives the same configurations.
    """
    temperatures = read_temperatures(beta, temperature, n_events, seed)
    simulator = _simulator(
        read_sides(side),
        lattice,
        coupling=coupling,
        field=field,
        boundary=boundary,
        algorithm=algorithm.replace("-", "_"),
        start=start,
        n_burn_in=n_burn_in,
        spacing=spacing,
        observables=tuple(name.strip() for name in (observables or "").split(",") if name.strip()),
        n_threads=n_threads,
        device=device,
    )
    check_stream_target(output)
    return _run(simulator, temperatures, output, seed, shard)


def _run(
    simulator: "SpinSimulator",
    temperatures: Temperatures,
    output: Path,
    seed: int,
    shard: Shard,
) -> int:
    beta = temperatures.of_events
    span = shard.span(len(beta), simulator.chunk_size(beta))
    n_events = span[1] - span[0]
    run = _Run(simulator, temperatures, output, seed, span)
    request = _request(simulator, temperatures, seed)
    if shard.count > 1:
        request |= {"shard": str(shard), "of_events": len(beta)}
    try:
        with progress(n_events, stderr, run.text) as run.advance:
            write_stream(
                output,
                run.pieces,
                n_events,
                request,
                prepare=run.prepare,
                observe=run.observe,
            )
    except KeyboardInterrupt:
        say(stderr, run.stopped())
        return _STOPPED
    # as wide as it is: a file has no width, and a terminal folds better than rich cuts
    Console(width=_TABLE_WIDTH).print(run.table())
    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(
        f"{output}: {n_events:,} events, {run.meter.rates()}, {run.times.algorithm}"
    )
    return 0


class _Run:
    """What happens while a stream is written: first a trial, then pieces, each counted."""

    tally: Tally | UniformTally
    times: "Thermalization"
    meter: Meter
    advance: Callable[[int], None]

    def __init__(
        self,
        simulator: "SpinSimulator",
        temperatures: Temperatures,
        output: Path,
        seed: int,
        span: tuple[int, int],
    ) -> None:
        self._simulator, self._beta, self._span = simulator, temperatures.of_events, span
        if temperatures.uniform:
            self.tally = UniformTally(simulator, temperatures.values)
        else:
            self.tally = Tally(simulator, np.unique(self._beta[slice(*span)]))
        self._output, self._seed = output, seed
        self._doing = "before anything was done"

    def prepare(self) -> None:
        self._doing = "while measuring how long chains must run, before any event"
        with stderr.status("measuring how long chains must run"):
            self.times = self._simulator.thermalization(self._beta)
        say(stderr, f"sampling: {self.times.in_words()}")
        self.meter = Meter(self._simulator, self.times)
        self._doing = "before the first events were written"

    def pieces(self, first: int) -> Iterator[Events]:
        self.advance(0)
        if first:
            say(stderr, f"going on after {first:,} events of {parts_folder(self._output)}")
        self.meter.start()
        start, stop = self._span
        for events in self._simulator.stream(
            len(self._beta), {"beta": self._beta}, rng=self._seed,
            first_event=start + first, stop_event=stop,
        ):  # fmt: skip
            self.meter.add(events)
            yield events

    def observe(self, events: Events) -> None:
        self.tally.add(events)
        self.advance(len(events))

    def text(self, n_left: int) -> str:
        return self.meter.text(n_left)

    def table(self) -> Table:
        if isinstance(self.tally, UniformTally):
            return uniform_table(self.tally)
        return table(self.tally, self.times)

    def stopped(self) -> str:
        n_safe, n_events = n_safe_events(self._output), self._span[1] - self._span[0]
        if n_safe:
            return (
                f"stopped: {n_safe:,} of {n_events:,} events are safe in "
                f"{parts_folder(self._output)}; the same command goes on from there"
            )
        if self.tally.n_events.sum() == n_events:
            return f"stopped when {self._output} was complete: {n_events:,} events"
        return f"stopped {self._doing}"


def _request(simulator: "SpinSimulator", temperatures: Temperatures, seed: int) -> dict[str, Any]:
    """All that decides the configurations."""
    import numba

    from physgen import __version__

    settings = dataclasses.asdict(simulator)
    del settings["n_threads"]
    return {
        "simulator": type(simulator).__name__,
        **settings,
        "beta": temperatures.values.tolist(),
        **({"temperatures": "uniform"} if temperatures.uniform else {}),
        "seed": seed,
        "physgen": __version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def _simulator(sides: tuple[int, ...], lattice: str, **settings: Any) -> "SpinSimulator":
    # numba takes half a second to import, which no other command needs
    from physgen.simulators import Ising2D, Ising3D

    if len(sides) == 2:
        return Ising2D(sides, lattice=lattice, **settings)
    if lattice != "square":
        raise ValueError(f"--lattice {lattice} has two sides, and --side gave {len(sides)}")
    return Ising3D(sides, **settings)
