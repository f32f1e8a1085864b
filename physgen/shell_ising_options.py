"""What the words of ``physgen simulate ising`` mean: sides, temperatures, whole numbers."""

from dataclasses import dataclass

import numpy as np

from physgen.random import derived_seed

__all__ = ["Temperatures", "read_sides", "read_temperatures"]

_MAX_TEMPERATURES = 10_000
_N_BINS = 10
_UNIFORM = "uniform:"
# a stream of its own, beside that of the simulator
_STREAM = 3


@dataclass(frozen=True)
class Temperatures:
    """Which temperatures were asked for.

    Parameters
    ----------
    of_events : array of shape (n_events,)
        Inverse temperature of every event.
    values : array
        The different ones, increasing; of a uniform law the edges of bins for the summary.
    uniform : bool
        Whether each event has one of its own.
    """

    of_events: np.ndarray
    values: np.ndarray
    uniform: bool = False


def read_temperatures(
    beta: str | None, temperature: str | None, n_events: int, seed: int
) -> Temperatures:
    """Inverse temperatures of all events, of one of the two options."""
    if beta is not None and temperature is None and beta.startswith(_UNIFORM):
        low, high = _range(beta)
        if n_events < 1:
            raise ValueError(f"-n must be 1 or more, got {n_events}")
        generator = np.random.Philox(key=derived_seed(seed, _STREAM))
        words = generator.random_raw(n_events)
        drawn = low + (high - low) * (words >> np.uint64(11)) * 2.0**-53
        return Temperatures(drawn, np.linspace(low, high, _N_BINS + 1), uniform=True)
    values = _read_betas(beta, temperature)
    return Temperatures(np.repeat(values, _shares(n_events, values)), values)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.removeprefix(_UNIFORM).split(":"))
    except ValueError:
        low = high = 0.0
    if not 0 <= low < high < np.inf:
        raise ValueError(
            f"cannot read --beta {text!r}; write uniform:first:last, as in uniform:0.3:0.6"
        )
    return low, high


def read_sides(text: str) -> tuple[int, ...]:
    """Two or three sides of 2 or more."""
    try:
        sides = tuple(int(side) for side in text.lower().split("x"))
    except ValueError:
        sides = ()
    if not 1 <= len(sides) <= 3:
        raise ValueError(f"cannot read --side {text!r}; write 32, 24x32 or 8x8x8")
    if min(sides) < 2:
        raise ValueError(f"--side must be 2 or more, got {text}")
    return sides * 2 if len(sides) == 1 else sides


def _read_betas(beta: str | None, temperature: str | None) -> np.ndarray:
    """Inverse temperatures, increasing, of one of the two options."""
    if (beta is None) == (temperature is None):
        given = "neither was" if beta is None else "both were"
        raise ValueError(f"give --beta 0.44 or --temperature 2.27; {given} given")
    if beta is not None:
        return np.unique(_numbers("--beta", beta))
    t = _numbers("--temperature", str(temperature))
    if not (t > 0).all():
        raise ValueError(f"--temperature must be above 0, got {t[~(t > 0)][0]:g}")
    return np.unique(1 / t)


def _shares(n_events: int, betas: np.ndarray) -> np.ndarray:
    """Events of every temperature, as equal as they can be."""
    if n_events < len(betas):
        wanted = "1" if len(betas) == 1 else f"{len(betas)}, the number of temperatures,"
        raise ValueError(f"-n must be {wanted} or more, got {n_events}")
    return n_events // len(betas) + (np.arange(len(betas)) < n_events % len(betas))


def _numbers(option: str, text: str) -> np.ndarray:
    items = text.split(",")
    # nobody means the temperatures 0 and 44, and who does can write so
    if len(items) == 2 and all(item.strip().isdigit() for item in items):
        point, both = (
            ".".join(map(str.strip, items)),
            ",".join(f"{item.strip()}.0" for item in items),
        )
        raise ValueError(
            f"{option} {text} may be one number with a decimal comma, or two; write {point} or "
            f"{both}"
        )
    try:
        return np.concatenate([_grid(item) for item in items])
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
