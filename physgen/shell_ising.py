"""The command ``physgen simulate ising``: a stream of configurations to a file, with a summary."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from cyclopts import Parameter
from rich.console import Console

from physgen.events import Events
from physgen.files.parts import (
    check_stream_target,
    n_safe_events,
    parts_folder,
    write_stream,
)
from physgen.shell_ising_table import Tally, table

if TYPE_CHECKING:
    from physgen.simulators.spin_simulator import SpinSimulator
    from physgen.simulators.thermalization import Thermalization

__all__ = ["ising"]

stderr = Console(stderr=True)

_MAX_TEMPERATURES = 10_000
_STOPPED = 130
_TABLE_WIDTH = 200

Leading = Parameter(allow_leading_hyphen=True)


def ising(
    *,
    n_events: Annotated[int, Parameter(name=["--n-events", "-n"], allow_leading_hyphen=True)],
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    side: Annotated[str, Leading] = "32",
    beta: Annotated[str | None, Leading] = None,
    temperature: Annotated[str | None, Leading] = None,
    coupling: float = 1.0,
    field: float = 0.0,
    boundary: Literal["periodic", "open"] = "periodic",
    lattice: Literal["square", "triangular"] = "square",
    algorithm: str = "auto",
    start: Literal["cold", "hot"] = "cold",
    n_burn_in: int | None = None,
    spacing: int | None = None,
    observables: str | None = None,
    n_threads: Annotated[int, Parameter(name=["--n-threads", "--threads"])] = 1,
    device: str = "cpu",
    seed: int = 0,
) -> int:
    """Draw independent configurations of the Ising model in two or three dimensions.

    Example: `physgen simulate ising --side 32 --beta 0.3:0.6:13 -n 100000 -o ising.h5`

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
        Inverse temperature in 1/J: a number, first:last:count, or a list with commas.
    temperature
        Temperature in J instead, in the same form.
    coupling
        J; negative for an antiferromagnet.
    field
        h in the unit of J.
    lattice
        Of two dimensions.
    algorithm
        auto, metropolis, heat-bath, wolff, swendsen-wang or parallel-tempering.
    start
        Ground states or random spins.
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
    betas = _betas(beta, temperature)
    shares = _shares(n_events, betas)
    simulator = _simulator(
        _sides(side),
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
    return _run(simulator, np.repeat(betas, shares), betas, output, seed)


def _run(
    simulator: "SpinSimulator", beta: np.ndarray, betas: np.ndarray, output: Path, seed: int
) -> int:
    with stderr.status("measuring how long chains must run"):
        times = simulator.thermalization(betas)
    _say(f"sampling: {times.in_words()}")
    meter = _Meter(simulator, times)
    tally = Tally(simulator, betas)

    try:
        with _progress(len(beta), meter) as advance:

            def pieces(first: int) -> Iterator[Events]:
                advance(0)
                if first:
                    _say(f"going on after {first:,} events of {parts_folder(output)}")
                for events in simulator.stream(len(beta), {"beta": beta}, rng=seed, start=first):
                    meter.add(events)
                    yield events

            def observe(events: Events) -> None:
                tally.add(events)
                advance(len(events))

            request = _request(simulator, betas, seed)
            write_stream(output, pieces, len(beta), request, observe=observe)
    except KeyboardInterrupt:
        _say(_stopped(output, len(beta)))
        return _STOPPED
    # as wide as it is: a file has no width, and a terminal folds better than rich cuts
    Console(width=_TABLE_WIDTH).print(table(tally, times))
    Console(soft_wrap=True, highlight=False, markup=False, emoji=False).print(
        f"{output}: {len(beta):,} events, {meter.rates()}, {times.algorithm}"
    )
    return 0


def _say(text: str) -> None:
    stderr.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _stopped(output: Path, n_events: int) -> str:
    n_safe = n_safe_events(output)
    if not n_safe:
        return "stopped before the first events were written"
    return (
        f"stopped: {n_safe:,} of {n_events:,} events are safe in {parts_folder(output)}; the same "
        "command goes on from there"
    )


def _request(simulator: "SpinSimulator", betas: np.ndarray, seed: int) -> dict[str, Any]:
    """All that decides the configurations."""
    import numba

    from physgen import __version__

    settings = dataclasses.asdict(simulator)
    del settings["n_threads"]
    return {
        "simulator": type(simulator).__name__,
        **settings,
        "beta": betas.tolist(),
        "seed": seed,
        "physgen": __version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


class _Meter:
    """Events and spin updates of this run, from its start."""

    def __init__(self, simulator: "SpinSimulator", times: "Thermalization") -> None:
        self._times = times
        self._n_sites = simulator.model.lattice.n_sites
        self._n_lanes = simulator.n_lanes(times.algorithm)
        self._start = time.perf_counter()
        self._n_events = 0
        self._n_updates = 0

    def add(self, events: Events) -> None:
        self._n_events += len(events)
        n_sweeps = _n_lattice_sweeps(self._times, self._n_lanes, events["beta"])
        self._n_updates += self._n_sites * n_sweeps

    def rates(self) -> str:
        """Events per second and flips per nanosecond."""
        seconds = max(time.perf_counter() - self._start, 1e-9)
        events = f"{self._n_events / seconds:,.0f} events/s"
        if not self._n_updates:
            return events
        return f"{events}, {self._n_updates / seconds / 1e9:.2g} flips/ns"

    def text(self, n_left: int) -> str:
        """Rates and the time that so many more events will take."""
        if not self._n_events:
            return ""
        seconds = time.perf_counter() - self._start
        minutes, rest = divmod(round(seconds / self._n_events * n_left), 60)
        return f"{self.rates()}  {minutes}:{rest:02} left"


def _n_lattice_sweeps(times: "Thermalization", n_lanes: int, beta: np.ndarray) -> int:
    """Sweeps times lattices that a chunk took, burn-in included; 0 for moves of other kinds."""
    if times.algorithm not in ("metropolis", "heat_bath"):
        return 0
    n_sweeps = 0
    values, counts = np.unique(beta, return_counts=True)
    for first in range(0, len(values), n_lanes):
        farm = slice(first, first + n_lanes)
        share = n_lanes // len(values[farm])
        n_burn_in, spacing = times.slowest(values[farm][0], values[farm][-1])
        n_sweeps += n_burn_in + spacing * (-(-int(counts[farm].max()) // share) - 1)
    return n_sweeps * n_lanes


@contextmanager
def _progress(n_events: int, meter: _Meter) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with events and flips per second and the time left, from the first call."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=None), TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[numbers]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=stderr, expand=True)
    task = bar.add_task("", total=n_events, numbers="")
    n_done = 0

    def advance(n: int) -> None:
        nonlocal n_done
        n_done += n
        bar.update(task, completed=n_done, numbers=meter.text(n_events - n_done))
        bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def _simulator(sides: tuple[int, ...], lattice: str, **settings: Any) -> "SpinSimulator":
    # numba takes half a second to import, which no other command needs
    from physgen.simulators import Ising2D, Ising3D

    if len(sides) == 2:
        return Ising2D(sides, lattice=lattice, **settings)
    if lattice != "square":
        raise ValueError(f"--lattice {lattice} has two sides, and --side gave {len(sides)}")
    return Ising3D(sides, **settings)


def _sides(text: str) -> tuple[int, ...]:
    try:
        sides = tuple(int(side) for side in text.lower().split("x"))
    except ValueError:
        sides = ()
    if not 1 <= len(sides) <= 3:
        raise ValueError(f"cannot read --side {text!r}; write 32, 24x32 or 8x8x8")
    return sides * 2 if len(sides) == 1 else sides


def _betas(beta: str | None, temperature: str | None) -> np.ndarray:
    """Inverse temperatures, increasing."""
    if (beta is None) == (temperature is None):
        given = "neither was" if beta is None else "both were"
        raise ValueError(f"give --beta 0.44 or --temperature 2.27; {given} given")
    if beta is not None:
        return np.unique(_numbers("--beta", beta))
    t = _numbers("--temperature", str(temperature))
    if not (t > 0).all():
        raise ValueError(f"--temperature must be above 0, got {t[~(t > 0)][0]:g}")
    return np.unique(1 / t)


def _numbers(option: str, text: str) -> np.ndarray:
    try:
        return np.concatenate([_grid(item) for item in text.split(",")])
    except ValueError:
        raise ValueError(
            f"cannot read {option} {text!r}; write a number, first:last:count as in 0.3:0.6:13 "
            f"(2 to {_MAX_TEMPERATURES:,} values), or a list as in 0.3,0.44,0.6"
        ) from None


def _grid(item: str) -> np.ndarray:
    edges = item.split(":")
    if len(edges) == 1:
        return np.array([float(item)])
    first, last, count = float(edges[0]), float(edges[1]), int(edges[2]) if len(edges) == 3 else 0
    if not 2 <= count <= _MAX_TEMPERATURES:
        raise ValueError("not a grid")
    return np.linspace(first, last, count)


def _shares(n_events: int, betas: np.ndarray) -> np.ndarray:
    """Events of every temperature, as equal as they can be."""
    if n_events < len(betas):
        wanted = "1" if len(betas) == 1 else f"{len(betas)}, the number of temperatures,"
        raise ValueError(f"n_events must be {wanted} or more, got {n_events}")
    return n_events // len(betas) + (np.arange(len(betas)) < n_events % len(betas))
