"""The commands that make events, with a surrogate or a simulator: whole, in pieces, in shards."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import App, Parameter
from rich.console import Console

from physgen import storage
from physgen.blocks import piece_size
from physgen.events import Events, concatenate
from physgen.files import check_target, read_events, write_events
from physgen.files.formats import format_of
from physgen.files.parts import n_safe_events, parts_folder, write_stream
from physgen.shards import Shard
from physgen.shell_ising import ising
from physgen.shell_ising_progress import progress
from physgen.shell_options import Count, Given, Output, Seed, Sharded, given_values, say
from physgen.simulators import SIMULATORS
from physgen.surrogate import Surrogate

__all__ = ["sample", "simulate"]

stderr = Console(stderr=True)
simulate = App(name="simulate", help="Generate events with a simulator.")

# events of a simulator that are made at once
_PIECE = 1 << 16
_STOPPED = 130


def sample(
    surrogate: Path,
    *,
    n_events: Count,
    output: Output,
    shard: Sharded = Shard(),  # noqa: B008  # frozen
    given: Given = None,
    conditions: Path | None = None,
    extrapolate: bool = False,
    n_steps: int | None = None,
    sampler: Literal["gibbs", "pt", "ptt", "heun", "dpm", "euler", "ancestral"] | None = None,
    guidance: float | None = None,
    seed: Seed = 0,
) -> int:
    """Generate events with a trained surrogate.

    Example: `physgen sample run -n 10000 --given njet=1 --seed 2 -o fake.root`

    Many events are written in pieces: whatever stopped the command, the same one goes on.

    Parameters
    ----------
    surrogate
        Folder written by `physgen train`.
    n_events
        Number of events.
    output
        File to write; its suffix decides the format (.root, .h5).
    conditions
        File or pattern whose first n events give the conditions.
    extrapolate
        Accept conditions outside the trained range.
    n_steps
        Steps to each event: of the Markov chain of an RBM or EBM, or noise levels of a diffusion
        model; by default its own.
    sampler
        Of an RBM: chains of the training (gibbs), parallel tempering (pt), or trajectory
        tempering (ptt); of a diffusion model heun, dpm, euler or ancestral.
    guidance
        Of a diffusion model trained with a fraction of dropped conditions; above 1 events are too
        typical of their conditions.
    seed
        Event i depends only on (seed, i).
    """
    check_target(output)
    simulator = Surrogate.load(surrogate)
    names = list(simulator.schema.with_role("condition"))
    values: dict[str, Any] = dict(given_values(given))
    if conditions is not None and names:
        values = {**read_events(conditions, fields=names, stop=n_events).to_dict(), **values}
    chosen = {"n_steps": n_steps, "sampler": sampler, "guidance": guidance}
    effort: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    stream = partial(
        simulator.stream, n_events, values, rng=seed, extrapolate=extrapolate, **effort
    )
    request = {
        "surrogate": _sha256((surrogate / storage.DESCRIPTION).read_bytes()),
        "conditions": _digests(values),
        "effort": effort,
    }
    size = piece_size(simulator.model, simulator.preprocessor)
    return _make(output, stream, n_events, shard, seed, request, size)


def _simulate_command(kind: type[Any]) -> Callable[..., int]:
    def command(
        settings: Any, *, n_events: int, output: Path, shard: Shard, given: Any, seed: int
    ) -> int:
        check_target(output)
        values = given_values(given)
        request = {"simulator": repr(settings), "conditions": _digests(values)}
        if hasattr(settings, "stream"):
            stream = partial(settings.stream, n_events, values, rng=seed)
        else:
            stream = partial(_at_once, settings, n_events, values, seed)
        return _make(output, stream, n_events, shard, seed, request, _PIECE)

    command.__doc__ = (kind.__doc__ or "").split("\n")[0]
    command.__annotations__ = {
        "settings": Annotated[kind, Parameter(name="*")],
        "n_events": Count,
        "output": Output,
        "shard": Sharded,
        "given": Given,
        "seed": Seed,
        "return": int,
    }
    command.__kwdefaults__ = {"shard": Shard(), "given": None, "seed": 0}
    command.__defaults__ = (kind(),)
    return command


for _name, _kind in SIMULATORS.items():
    simulate.command(_simulate_command(_kind), name=_name)
simulate.command(ising)


def _at_once(
    simulator: Any,
    n_events: int,
    values: Mapping[str, Any],
    seed: int,
    *,
    first_event: int,
    stop_event: int,
) -> Iterator[Events]:
    """Events of a simulator without a stream, of which a part costs as much as the whole."""
    yield simulator(n_events, values, rng=seed)[first_event:stop_event]


def _make(
    output: Path,
    stream: Callable[..., Iterator[Events]],
    n_events: int,
    shard: Shard,
    seed: int,
    request: Mapping[str, Any],
    size: int,
) -> int:
    """Write the events of a shard: at once, or more than a piece through the resumable writer."""
    first, stop = shard.span(n_events)
    if stop - first <= size or format_of(output).name == "IDX":
        events = concatenate(list(stream(first_event=first, stop_event=stop)))
        write_events(output, events)
        names = events.schema.names
    else:
        request = {
            **request, "shard": str(shard), "of_events": n_events, "seed": seed,
            "versions": storage.versions(),
        }  # fmt: skip
        try:
            names = _write_pieces(output, stream, first, stop, request)
        except KeyboardInterrupt:
            say(stderr, _safe(output, stop - first))
            return _STOPPED
    say(Console(), f"{output}: {stop - first:,} events, {', '.join(names)}")
    return 0


def _write_pieces(
    output: Path,
    stream: Callable[..., Iterator[Events]],
    first: int,
    stop: int,
    request: Mapping[str, Any],
) -> tuple[str, ...]:
    if n_safe := n_safe_events(output):
        say(stderr, f"going on after {n_safe:,} events of {parts_folder(output)}")
    rate = _Rate()
    names: tuple[str, ...] = ()

    def pieces(done: int) -> Iterator[Events]:
        for events in stream(first_event=first + done, stop_event=stop):
            rate.n_made += len(events)
            yield events

    def observe(events: Events) -> None:
        nonlocal names
        names = events.schema.names
        advance(len(events))

    with progress(stop - first, stderr, rate.text) as advance:
        write_stream(output, pieces, stop - first, request, observe=observe)
    return names


class _Rate:
    """How fast events are made, and how long the rest will take."""

    def __init__(self) -> None:
        self.n_made = 0
        self._start = time.perf_counter()

    def text(self, n_left: int) -> str:
        if not self.n_made:
            return ""
        rate = self.n_made / max(time.perf_counter() - self._start, 1e-9)
        minutes, seconds = divmod(round(n_left / rate), 60)
        return f"{rate:,.0f} events/s  {minutes}:{seconds:02} left"


def _safe(output: Path, n_events: int) -> str:
    n_safe = n_safe_events(output)
    if not n_safe:
        return "stopped before any event was safe"
    return (
        f"stopped: {n_safe:,} of {n_events:,} events are safe in {parts_folder(output)}; the same "
        "command goes on from there"
    )


def _digests(values: Mapping[str, Any]) -> dict[str, Any]:
    """Conditions in short, to know them again."""
    return {
        name: value if np.ndim(value) == 0 else _sha256(np.ascontiguousarray(value).tobytes())
        for name, value in values.items()
    }


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
