"""The bar of ``physgen simulate ising``: how fast events come and how long the rest will take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from physgen.events import Events

if TYPE_CHECKING:
    from physgen.simulators.spin_simulator import SpinSimulator
    from physgen.simulators.thermalization import Thermalization

__all__ = ["Meter", "progress"]


class Meter:
    """Events and spin updates of this run, without compilation, trial and earlier runs.

    Parameters
    ----------
    simulator : SpinSimulator
    times : Thermalization
        Of a trial, which has compiled the kernels.
    """

    def __init__(self, simulator: "SpinSimulator", times: "Thermalization") -> None:
        self._times = times
        self._n_sites = simulator.model.lattice.n_sites
        self._n_lanes = simulator.n_lanes(times.algorithm)
        self._start = time.perf_counter()
        self._n_events = 0
        self._n_updates = 0

    def start(self) -> None:
        """Start the clock anew, unless events were made already."""
        if not self._n_events:
            self._start = time.perf_counter()

    def add(self, events: Events) -> None:
        """Count a chunk that was just made."""
        self._n_events += len(events)
        n_sweeps = _n_lattice_sweeps(self._times, self._n_lanes, events["beta"])
        self._n_updates += self._n_sites * n_sweeps

    def rates(self) -> str:
        """Events per second and flips per nanosecond."""
        if not self._n_events:
            return "all of them made before"
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
def progress(
    n_events: int, console: Console, text: Callable[[int], str]
) -> Iterator[Callable[[int], None]]:
    """A bar that appears with the first call of what it yields, which counts events.

    Parameters
    ----------
    n_events : int
    console : Console
    text : callable
        What stands at the bar when so many events are left.
    """
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        BarColumn(bar_width=None), TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[numbers]}"),
    )  # fmt: skip
    bar = Progress(*columns, console=console, expand=True)
    task = bar.add_task("", total=n_events, numbers="")
    n_done = 0

    def advance(n: int) -> None:
        nonlocal n_done
        n_done += n
        bar.update(task, completed=n_done, numbers=text(n_events - n_done))
        bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
