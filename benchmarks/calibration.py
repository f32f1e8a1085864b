"""Whether the numbers of a comparison keep their promises: sizes, powers, intervals, verdicts.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py [--repetitions 1000] [--only SECTION ...]

writes benchmarks/results/calibration.json (sections given with --only are added to the others) and
the tables of docs/validation.md.

- sizes: how often each test says p <= 5 % of two samples of one law: continuous, with ties, spins,
  weights, negative weights, unequal sizes, Markov chains on both sides or one. The band holds
  998 of 1000 right tests; a test may be too careful, never too quick.
- powers: how often it does against a shift, another width, a lost correlation of a pair, 5 % of
  events in a wide tail, a dropped mode, noise, Ising lattices at another temperature.
- coverage: how often the 95 % limits of the shift and of the smooth bias hold the true value (that
  of the bias from 200,000 events).
- verdicts: how often PASS is said of a candidate beyond the tolerance, and FAIL of one
  within it.

tests/test_calibration.py makes the same with fewer repetitions.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import read_rows, write_result
from scipy.stats import binom, kstest

import physgen as pg
from physgen.designs import design_of
from physgen.metrics import (
    classifier_auc,
    compare_columns,
    compare_correlations,
    cramer_von_mises,
    energy_distance,
    js_divergence,
    mmd,
    sliced_wasserstein,
)
from physgen.metrics.columns import Column
from physgen.metrics.resampling import Design
from physgen.summaries import Quantity

RESULT = Path(__file__).parent / "results" / "calibration.json"
TABLE = Path(__file__).parents[1] / "docs" / "calibration.inc"
LEVEL = 0.05
N_DRAWS = 99


@dataclass(frozen=True)
class Samples:
    """Two samples of shape (n, d) and (m, d), and how they were drawn."""

    x: np.ndarray
    y: np.ndarray
    design: Design


def independent(x: np.ndarray, y: np.ndarray, weights=(None, None)) -> Samples:
    return Samples(x, y, Design.of(len(x), len(y), weights=weights))


# ---------------------------------------------------------------- samples of one law


def continuous(rng):
    return independent(rng.normal(size=(150, 3)), rng.normal(size=(150, 3)))


def ties(rng):
    return independent(rng.poisson(1.5, (150, 3)) * 1.0, rng.poisson(1.5, (150, 3)) * 1.0)


def spins(rng):
    signs = np.sign(rng.normal(size=(300, 1)))  # of an ordered lattice, turned over as a whole
    s = np.where(rng.random((300, 16)) < 0.7, 1.0, -1.0) * signs
    return independent(s[:150], s[150:])


def weighted(rng):
    """A sample drawn from a wider law, whose weights lead back."""
    x = 1.3 * rng.normal(size=(400, 3))
    weights = np.exp(-0.5 * np.square(x).sum(axis=1) * (1 - 1 / 1.69))
    return independent(x, rng.normal(size=(300, 3)), (weights, None))


def negative(rng):
    weights = np.where(rng.random(400) < 0.15, -1.0, 1.0)
    return independent(rng.normal(size=(400, 3)), rng.normal(size=(300, 3)), (weights, None))


def unequal(rng):
    return independent(rng.normal(size=(60, 3)), rng.normal(size=(240, 3)))


def chain(rng, n, tau):
    """AR(1) in three columns, with the integrated autocorrelation time tau."""
    rho = (2 * tau - 1) / (2 * tau + 1)
    x = np.empty((n, 3))
    x[0] = rng.normal(size=3)
    noise = np.sqrt(1 - rho**2) * rng.normal(size=(n, 3))
    for t in range(1, n):
        x[t] = rho * x[t - 1] + noise[t]
    return x


def of_chains(x, y, chains):
    events = [pg.Events.from_dict({"x": v}) for v in (x, y)]
    columns = [Quantity(str(k), "", x[:, k], y[:, k]) for k in range(x.shape[1])]
    design, _, _ = design_of(*events, columns, chains=chains)
    return Samples(x, y, design)


def chains(rng):
    return of_chains(chain(rng, 3000, 5.0), chain(rng, 3000, 5.0), (True, True))


def one_chain(rng):
    return of_chains(chain(rng, 3000, 5.0), rng.normal(size=(300, 3)), (True, None))


def chains_taken_for_independent(rng):
    """Negative control: what naive p-values make of it."""
    return independent(chain(rng, 3000, 5.0), chain(rng, 3000, 5.0))


NULLS = {
    f.__name__: f
    for f in (continuous, ties, spins, weighted, negative, unequal, chains, one_chain)
}

# ---------------------------------------------------------------- tests


def _columns(s: Samples, seed: int):
    columns = [Column(s.x[:, k], s.y[:, k]) for k in range(s.x.shape[1])]
    rng = np.random.default_rng(seed)
    return compare_columns(columns, s.design, n_permutations=N_DRAWS, rng=rng)


def all_columns(s, seed):
    return _columns(s, seed)[1]


def js(s, seed):
    return js_divergence(
        s.x[:, 0], s.y[:, 0], weights=s.design, n_permutations=N_DRAWS, rng=seed
    ).p_value


def ks(s, seed):
    return _columns(s, seed)[0][0].ks.p_value


def w1(s, seed):
    return _columns(s, seed)[0][0].w1.p_value


def cvm(s, seed):
    return cramer_von_mises(
        s.x[:, 0], s.y[:, 0], weights=s.design, n_permutations=N_DRAWS, rng=seed
    ).p_value


def pairs(s, seed):
    found = compare_correlations(
        s.x, s.y, s.design, n_permutations=N_DRAWS, rng=np.random.default_rng(seed)
    )
    return found.estimate.p_value


def _joint(metric):
    def p_value(s, seed):
        return metric(s.x, s.y, weights=s.design, n_permutations=N_DRAWS, rng=seed).p_value

    return p_value


def classifier(s, seed):
    return classifier_auc(s.x, s.y, weights=s.design, rng=seed).p_value


TESTS: dict[str, Callable[[Samples, int], float]] = {
    "JS": js,
    "KS": ks,
    "W1": w1,
    "Cramer-von Mises": cvm,
    "all columns": all_columns,
    "pairs": pairs,
    "MMD": _joint(mmd),
    "energy distance": _joint(energy_distance),
    "sliced W1": _joint(sliced_wasserstein),
    "classifier": classifier,
}


def rejections(
    test: str, samples: Callable[..., Samples], n: int, *, start: int = 0
) -> list[float]:
    """Return p-values of one test over n pairs of samples."""
    seeds = range(start, start + n)
    return [TESTS[test](samples(np.random.default_rng([k, len(test)])), k) for k in seeds]


def band(n: int) -> tuple[float, float]:
    """Shares of p <= 5 % that a right test stays within in 998 of 1000 runs."""
    low, high = binom.ppf([0.001, 0.999], n, LEVEL) / n
    return float(low), float(high)


# ---------------------------------------------------------------- other laws

EPSILONS = (0.0, 0.5, 1.0)  # of the full size of the alternative


def shift(rng, epsilon):
    x, y = rng.normal(size=(2, 500, 3))
    y[:, 0] += 0.25 * epsilon
    return independent(x, y)


def width(rng, epsilon):
    x, y = rng.normal(size=(2, 500, 3))
    return independent(x, y * (1 + 0.15 * epsilon))


def pair(rng, epsilon):
    x, y = rng.normal(size=(2, 500, 3))
    rho = 0.25 * epsilon
    y[:, 1] = rho * y[:, 0] + np.sqrt(1 - rho**2) * y[:, 1]
    return independent(x, y)


def tail(rng, epsilon):
    x, y = rng.normal(size=(2, 1000, 3))
    y[rng.random(1000) < 0.05 * epsilon] *= 5
    return independent(x, y)


def dropped_mode(rng, epsilon):
    def ring(n, keep):
        angle = 2 * np.pi * rng.integers(0, 8, n) / 8
        angle = angle[(angle > 0) | (rng.random(n) < keep)]
        return np.stack((np.cos(angle), np.sin(angle)), 1) + 0.1 * rng.normal(size=(len(angle), 2))

    return independent(ring(500, 1.0), ring(500, 1 - epsilon))


def ising(rng, epsilon):
    """8 x 8 lattices at beta = 0.42, and at 4 % less; as energy per spin, |m| and m."""
    from physgen.observables import ising_energy, magnetization
    from physgen.simulators import Ising2D

    samples = []
    for beta in (0.42, 0.42 * (1 - 0.04 * epsilon)):
        seed = int(rng.integers(2**31))
        lattices = Ising2D(8)(600, {"beta": beta}, rng=seed)["spins"]
        m = magnetization(lattices)
        samples.append(np.stack((ising_energy(lattices) / 64, np.abs(m), m), axis=1))
    return independent(*samples)


ALTERNATIVES = {f.__name__: f for f in (shift, width, pair, tail, dropped_mode, ising)}

# ---------------------------------------------------------------- intervals and verdicts


def coverage(n: int) -> list[dict]:
    """Share of intervals below and above the value of a large sample."""
    from physgen.metrics.smooth import smooth_bias

    rows = []
    for delta in (0.0, 0.1, 0.4):
        rng = np.random.default_rng([int(10 * delta), 7])
        large = rng.normal(size=(2, 200_000))
        large[1] += delta
        truth = (
            smooth_bias(large[0], large[1], Design.of(200_000, 200_000)).value if delta else 0.0
        )
        found = {"shift": [], "smooth bias": []}
        for k in range(n):
            x, y = np.random.default_rng([k, 8]).normal(size=(2, 1000))
            y = y + delta
            design = Design.of(1000, 1000)
            (column,), _ = compare_columns(
                [Column(x, y)], design, n_permutations=199, rng=np.random.default_rng(k)
            )
            bias = column.bias
            found["shift"].append((column.shift_lower, column.shift_upper, delta))
            found["smooth bias"].append((bias.lower, bias.upper, truth))
        for name, limits in found.items():
            low, high, value = np.array(limits).T
            rows.append(
                {
                    "section": "coverage",
                    "what": name,
                    "shift": delta,
                    "lower_too_high": float((low > value + 1e-12).mean()),
                    "upper_too_low": float((high < value - 1e-12).mean()),
                    "repetitions": n,
                }
            )
    return rows


def verdicts(n: int, factors=(0.0, 0.7, 1.0, 1.3, 2.0)) -> list[dict]:
    """Share of each outcome for candidates that are off by a multiple of the tolerance."""
    rows = []
    for factor in factors:
        outcomes = []
        for k in range(n):
            x, y = np.random.default_rng([k, 9]).normal(size=(2, 3000, 2))
            y[:, 0] += 0.15 * factor
            events = [pg.Events.from_dict({"a": v[:, 0], "b": v[:, 1]}) for v in (x, y)]
            outcomes.append(
                pg.compare(*events, tolerance=0.15, max_auc=0.65, max_events=500, rng=k).outcome
            )
        rows.append(
            {
                "section": "verdicts",
                "shift_over_tolerance": factor,
                "repetitions": n,
                **{o: outcomes.count(o) / n for o in sorted(set(outcomes))},
            }
        )
    return rows


def sizes(n: int) -> Iterator[dict]:
    for null, samples in NULLS.items():
        for test in TESTS:
            dear = test == "classifier" or ("chain" in null and test in ("MMD", "energy distance"))
            repetitions = n // 5 if dear else 3 * n // 10 if "chain" in null else n
            start = time.process_time()
            p = np.array(rejections(test, samples, repetitions))
            yield {
                "section": "sizes",
                "test": test,
                "samples": null,
                "rejected": float((p <= LEVEL).mean()),
                "band": band(repetitions),
                "p_uniform": float(kstest(p, "uniform").pvalue),
                "repetitions": repetitions,
                "cpu_seconds": time.process_time() - start,
            }
    control = np.array(rejections("KS", chains_taken_for_independent, min(n, 200)))
    yield {
        "section": "sizes",
        "test": "KS",
        "samples": "chains taken for independent events (control)",
        "rejected": float((control <= LEVEL).mean()),
        "repetitions": len(control),
    }


def powers(n: int) -> Iterator[dict]:
    for name, samples in ALTERNATIVES.items():
        for test in TESTS:
            rejected = [
                float(np.mean([
                    TESTS[test](samples(np.random.default_rng([k, 3]), epsilon), k) <= LEVEL
                    for k in range(n)
                ]))
                for epsilon in EPSILONS
            ]  # fmt: skip
            yield {
                "section": "powers",
                "test": test,
                "alternative": name,
                "epsilons": EPSILONS,
                "rejected": rejected,
                "repetitions": n,
            }


def table(rows: list[dict]) -> str:
    """Return the tables of docs/validation.md in Markdown."""
    parts = []
    for section, of in (("sizes", _sizes_table), ("powers", _powers_table)):
        found = [r for r in rows if r["section"] == section]
        if found:
            parts.append(of(found))
    if found := [r for r in rows if r["section"] == "coverage"]:
        lines = ["| limits of | true shift [σ] | lower limit above it | upper limit below it |"]
        lines += ["|---|---|---|---|"] + [
            f"| {r['what']} | {r['shift']:g} | {r['lower_too_high']:.1%} "
            f"| {r['upper_too_low']:.1%} |"
            for r in found
        ]
        n = found[0]["repetitions"]
        parts.append(
            f"Limits are one-sided at 95 %, so each may be wrong in 5 % ({n} repetitions, 1,000 "
            "events per side):\n\n" + "\n".join(lines)
        )
    if found := [r for r in rows if r["section"] == "verdicts"]:
        outcomes = ("pass", "pass with difference", "inconclusive", "fail")
        lines = ["| shift over tolerance | " + " | ".join(outcomes) + " |", "|---|" + "---|" * 4]
        lines += [
            f"| {r['shift_over_tolerance']:g} | "
            + " | ".join(f"{r.get(o, 0):.0%}" for o in outcomes)
            + " |"
            for r in found
        ]
        n = found[0]["repetitions"]
        parts.append(
            f"Verdicts of whole reports ({n} repetitions, 3,000 events per side, two columns, "
            "tolerance 0.15):\n\n" + "\n".join(lines)
        )
    return "\n\n".join(parts) + "\n"


def _sizes_table(rows: list[dict]) -> str:
    control = [r for r in rows if "control" in r["samples"]]
    rows = [r for r in rows if r not in control]
    nulls = list(dict.fromkeys(r["samples"] for r in rows))
    shares = {(r["test"], r["samples"]): r for r in rows}
    lines = ["| p ≤ 5 % of equal laws | " + " | ".join(n.replace("_", " ") for n in nulls) + " |"]
    lines.append("|---|" + "---|" * len(nulls))
    for test in dict.fromkeys(r["test"] for r in rows):
        found = [shares.get((test, n)) for n in nulls]
        cells = [f"{r['rejected']:.1%}" if r else "" for r in found]
        lines.append(f"| {test} | " + " | ".join(cells) + " |")
    most = max(r["repetitions"] for r in rows)
    low, high = band(most)
    told = (
        f"998 of 1000 right tests lie between {low:.1%} and {high:.1%} with {most:,} repetitions, "
        f"below {band(100)[1]:.0%} with 100. Chains and the classifier have fewer; the results "
        "file says how many."
    )
    if control:
        told += (
            f" Chains taken for independent events, the control, are called different in "
            f"{control[0]['rejected']:.0%} by KS."
        )
    return "\n".join(lines) + "\n\n" + told


def _powers_table(rows: list[dict]) -> str:
    kinds = list(dict.fromkeys(r["alternative"] for r in rows))
    shares = {(r["test"], r["alternative"]): r["rejected"] for r in rows}
    lines = ["| p ≤ 5 % of other laws | " + " | ".join(k.replace("_", " ") for k in kinds) + " |"]
    lines.append("|---|" + "---|" * len(kinds))
    for test in dict.fromkeys(r["test"] for r in rows):
        cells = [
            " · ".join(f"{100 * x:.0f}" for x in shares[test, k]) if (test, k) in shares else ""
            for k in kinds
        ]
        lines.append(f"| {test} | " + " | ".join(cells) + " |")
    told = {
        "shift": "one column by 0.25 σ",
        "width": "all widths 15 % larger",
        "pair": "a correlation of 0.25",
        "tail": "5 % of the events five times as wide",
        "dropped_mode": "one of eight modes gone",
        "ising": "8 x 8 lattices at a temperature 4 % off, as energy, |m| and m",
    }
    what = "; ".join(f"{k.replace('_', ' ')}: {told[k]}" for k in kinds)
    n = rows[0]["repetitions"]
    note = f"Percent at no, half and the full difference ({n} repetitions). In words: {what}."
    return "\n".join(lines) + "\n\n" + note


SECTIONS = {"sizes": sizes, "powers": powers, "coverage": coverage, "verdicts": verdicts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    arguments = parser.parse_args()
    rows = [r for r in read_rows(RESULT) if r["section"] not in arguments.only]
    for name in arguments.only:
        # alternatives and whole reports cost more, and need fewer
        n = arguments.repetitions // {"powers": 10, "verdicts": 25}.get(name, 1)
        for row in SECTIONS[name](n):
            print(row, flush=True)
            rows.append(row)
            write_result(RESULT, rows)
    TABLE.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
