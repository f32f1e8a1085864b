"""scoreboard: a candidate among the published results of the CaloChallenge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from physgen.challenge import (
    DATASETS,
    ChallengeDataset,
    Published,
    high_level_features,
    published_results,
    separation_powers,
)
from physgen.estimates import Estimate
from physgen.events import Events, require_events
from physgen.files.binning import Binning, Layer
from physgen.metrics.classifier import Fit, boosted_trees, classifier_test
from physgen.random import Rng, as_seed
from physgen.schema import SchemaError

__all__ = ["Scoreboard", "scoreboard"]

_COLUMNS = {
    "AUC high": "binary cls high",
    "AUC low": "binary cls low",
    "FPD·1e3": "FPD * 1e3",
    "KPD·1e3": "KPD * 1e3",
}
_TRUTH = "GEANT4"
_FPD_BATCHES = (10_000, 50_000)
_KPD_BATCH = 10_000
_N_FOLDS = 5  # the last fifth judges, as in the challenge
_THRESHOLD = DATASETS[-1].threshold  # of showers that belong to no data set


@dataclass(frozen=True)
class Scoreboard:
    """Scores of a candidate beside the published ones.

    Attributes
    ----------
    dataset : str or None
        Data set of the challenge that has as many voxels; None if there is no such.
    scores : dict of Estimate
        "AUC high", "FPD·1e3", "KPD·1e3" and, if asked for, "AUC low"; smaller is better. Each
        carries its floor: what the reference scores against itself.
    separations : dict of float
        Separation powers of the histograms of the challenge.
    published : tuple of Published
        Results on this data set; "GEANT4" is the truth against itself.
    differences : tuple of str
        Why no claim can be made from any of the scores; empty if nothing was found.
    classifier : str
        Why none can be made from the AUC; empty for the network of the challenge.
    n_events : pair of int
        Events of reference and candidate that were used.
    """

    dataset: str | None
    scores: dict[str, Estimate]
    separations: dict[str, float]
    published: tuple[Published, ...]
    differences: tuple[str, ...]
    classifier: str
    n_events: tuple[int, int]

    def may_be_claimed(self, score: str) -> bool:
        """Whether nothing is known that keeps a score from being set beside published ones."""
        return not self.differences and not (self.classifier and score.startswith("AUC"))

    def place(self, score: str) -> tuple[int, int] | None:
        """Place among the submissions, and their number with this one; None without a claim."""
        if not self.may_be_claimed(score) or score not in self.scores:
            return None
        others = [
            p.values[_COLUMNS[score]]
            for p in self.published
            if p.name != _TRUTH and _COLUMNS[score] in p.values
        ]
        return 1 + sum(v < self.scores[score].value for v in others), len(others) + 1

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and dicts, for JSON."""
        return {
            "dataset": self.dataset,
            "scores": {name: e.to_dict() for name, e in self.scores.items()},
            "places": {name: self.place(name) for name in self.scores},
            "separations": self.separations,
            "published": [{"name": p.name, **p.values} for p in self.published],
            "differences": list(self.differences),
            "classifier": self.classifier,
            "n_events": list(self.n_events),
            "source": "Krause et al., CaloChallenge 2022, arXiv:2410.21611",
        }

    def __str__(self) -> str:
        name = self.dataset or "no data set of the challenge"
        n, m = self.n_events
        lines = [
            f"CaloChallenge scoreboard, {name}: {m:,} candidate against {n:,} reference events"
        ]
        lines += ["", *self._table(), ""]
        lines += [f"separation power of {k}: {v:.3g}" for k, v in self.separations.items()]
        return "\n".join([*lines, "", *self._words()])

    def _table(self) -> Iterator[str]:
        shown = [
            c
            for c in _COLUMNS
            if c in self.scores or any(_COLUMNS[c] in p.values for p in self.published)
        ]
        header = f"{'':26}" + "".join(f"{c:>12}" for c in shown)
        yield header
        ours = {c: e.value for c, e in self.scores.items()}
        rows = [
            (p.name, {c: p.values.get(_COLUMNS[c], math.nan) for c in shown})
            for p in self.published
        ]
        rows = [(f"{n} against itself" if n == _TRUTH else n, v) for n, v in rows]
        rows.append(("> this candidate", ours))
        floors = {c: e.floor for c, e in self.scores.items()}
        rows.append(("> your truth, 95 % below", floors))
        rows.sort(key=lambda row: _last_if_nan(row[1].get("FPD·1e3", math.nan)))
        for label, values in rows:
            yield f"{label:26}" + "".join(f"{_number(values.get(c, math.nan)):>12}" for c in shown)

    def _words(self) -> Iterator[str]:
        if self.differences:
            yield "No claim can be made from these numbers:"
            yield from (f"  * {reason}" for reason in self.differences)
        if self.classifier:
            yield f"No claim can be made from the AUC: {self.classifier}"
        for score in self.scores:
            if (place := self.place(score)) is not None:
                yield f"{score}: place {place[0]} of {place[1]}"
        if not self.differences:
            yield (
                "Voxels, energies and sizes are those of the challenge. Whether the reference is "
                "its evaluation file, and the candidate never saw it, only you can know."
            )
        yield "Published: Krause et al., CaloChallenge 2022, arXiv:2410.21611."


def scoreboard(
    reference: Events,
    candidate: Events,
    *,
    results: Sequence[Published] | None = None,
    fit: Fit = boosted_trees,
    low_level: bool = False,
    max_events: int | None = None,
    rng: Rng,
) -> Scoreboard:
    """Place showers among the published results of the CaloChallenge.

    Voxels below the threshold of the data set are set to 0 in both samples. Then follow, as in
    the challenge, FPD (batches of 10,000 to 50,000 events) and KPD (batches of 10,000) of the
    high-level features, the AUC of a classifier on them and, if asked for, on the voxels over the
    incident energy, and the separation powers of the histograms. What differs from the challenge
    is said in words, and then no place is given.

    Parameters
    ----------
    reference, candidate : Events
        Showers in the CaloChallenge layout, read with ``binning=``, in MeV, without weights.
    results : sequence of Published, optional
        The table to be placed in; that of arXiv:2410.21611 by default.
    fit : callable, default boosted trees
        How the classifier is trained. Only :func:`physgen.challenge_network.challenge_network`
        is the one of the challenge (minutes on a GPU, hours on a CPU).
    low_level : bool, default False
        Whether a classifier of the voxels is trained too.
    max_events : int, optional
        Use the first so many events of either sample; all by default. The cost of KPD grows with
        the square: 20,000 events take minutes.
    rng : int or torch.Generator
        Source of all draws.

    Returns
    -------
    Scoreboard

    Raises
    ------
    SchemaError
        If a sample has other fields than the layout, other units than MeV, or weights, or if the
        binning is missing or differs.
    """
    layers = _layers(reference, candidate)
    n_voxels = sum(layer.n_voxels for layer in layers)
    dataset = next((d for d in DATASETS if d.n_voxels == n_voxels), None)
    threshold = dataset.threshold if dataset else _THRESHOLD
    ours, theirs = (_arrays(events[:max_events], threshold) for events in (reference, candidate))
    table = published_results() if results is None else results
    sizes = (len(ours[1]), len(theirs[1]))
    return Scoreboard(
        dataset=dataset.name if dataset else None,
        scores=_scores((ours, theirs), layers, fit, low_level, as_seed(rng)),
        separations=separation_powers(ours, theirs, layers, threshold=threshold),
        published=tuple(p for p in table if dataset and p.dataset == dataset.name),
        differences=tuple(_differences(dataset, layers, [ours[1], theirs[1]], sizes)),
        classifier=""
        if getattr(fit, "__name__", "") == "challenge_network"
        else _OTHER_CLASSIFIER,
        n_events=sizes,
    )


_OTHER_CLASSIFIER = (
    "the published ones come from a network with three hidden layers of 2048 units "
    "(fit=challenge_network), and another classifier sees more or less"
)


def _layers(reference: Events, candidate: Events) -> tuple[Layer, ...]:
    for what, events in (("reference", reference), ("candidate", candidate)):
        require_events(f"the {what}", events)
        schema = events.schema
        for name in ("incident_energies", "showers"):
            if schema[name].unit not in ("", "MeV"):
                raise SchemaError(f"{name} of the {what} are in {schema[name].unit}, not in MeV")
        if schema.weight is not None:
            raise SchemaError(f"the {what} has weights, and the challenge knows none")
    binning = Binning.from_schema(reference.schema)
    for what, events in (("reference", reference), ("candidate", candidate)):
        if events.schema["showers"].shape != (binning.n_voxels,):
            raise SchemaError(
                f"showers of the {what} have the shape {events.schema['showers'].shape}, and the "
                f"binning has {binning.n_voxels} voxels"
            )
    if candidate.schema.conventions.get("binning", binning.to_xml()) != binning.to_xml():
        raise SchemaError("the candidate has another binning than the reference")
    return binning.layers


def _arrays(events: Events, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    showers = np.asarray(events["showers"])
    energies = np.asarray(events["incident_energies"], dtype=np.float64)
    return np.where(showers < threshold, 0, showers), energies


def _scores(
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    layers: Sequence[Layer],
    fit: Fit,
    low_level: bool,
    seed: int,
) -> dict[str, Estimate]:
    from physgen.metrics.frechet import fpd, kpd

    x, y = (high_level_features(showers, energies, layers) for showers, energies in samples)
    n = max(len(x), len(y))
    scores = {
        "AUC high": classifier_test(x, y, fit=fit, n_folds=_N_FOLDS, max_events=n, rng=seed).auc
    }
    if low_level:
        u, v = (_voxel_features(*sample) for sample in samples)
        scores["AUC low"] = classifier_test(
            u, v, fit=fit, n_folds=_N_FOLDS, max_events=n, rng=seed + 1
        ).auc
    scores["FPD·1e3"] = _thousandfold(fpd(x, y, batch_sizes=_FPD_BATCHES, rng=seed + 2))
    scores["KPD·1e3"] = _thousandfold(kpd(x, y, batch_size=_KPD_BATCH, rng=seed + 3))
    return scores


def _voxel_features(showers: np.ndarray, energies: np.ndarray) -> np.ndarray:
    column = energies[:, None]
    return np.concatenate((np.log10(column), showers / column), axis=1)


def _thousandfold(e: Estimate) -> Estimate:
    return Estimate(1e3 * e.value, 1e3 * e.std_error, 1e3 * e.floor, e.p_value, e.note)


def _differences(
    dataset: ChallengeDataset | None,
    layers: Sequence[Layer],
    energies: Sequence[np.ndarray],
    sizes: tuple[int, int],
) -> Iterator[str]:
    if dataset is None:
        n_voxels = sum(layer.n_voxels for layer in layers)
        known = ", ".join(f"{d.name} {d.n_voxels}" for d in DATASETS)
        yield f"showers of {n_voxels} voxels are in no data set of the challenge ({known})"
        return
    if [(x.id, x.n_r, x.n_alpha) for x in layers] != list(dataset.layers) or not _has_rings(
        dataset, layers
    ):
        yield f"the layers are binned in another way than those of {dataset.name}"
    for what, values, n in zip(("reference", "candidate"), energies, sizes, strict=True):
        if not _has_energies(dataset, values):
            yield (
                f"the incident energies of the {what} go from {values.min() / 1e3:.3g} to "
                f"{values.max() / 1e3:.3g} GeV; those of {dataset.name} {_energy_words(dataset)}"
            )
        if abs(n / dataset.n_events - 1) > 0.02:
            yield (
                f"the {what} has {n:,} events; the published numbers are for "
                f"{dataset.n_events:,} on either side"
            )


def _has_rings(dataset: ChallengeDataset, layers: Sequence[Layer]) -> bool:
    """Whether data sets 2 and 3 have their equal rings up to 41.85 mm."""
    if dataset.name not in ("ds2", "ds3"):
        return True
    return all(np.allclose(x.r_edges, np.linspace(0, 41.85, x.n_r + 1), atol=0.01) for x in layers)


def _has_energies(dataset: ChallengeDataset, values: np.ndarray) -> bool:
    known = np.array(dataset.energies)
    if len(known) > 2:
        nearest = known[np.abs(np.log(values[:, None] / known)).argmin(axis=1)]
        return bool(np.allclose(values, nearest, rtol=1e-3) and len(set(nearest)) == len(known))
    low, high = known
    inside = (values >= 0.999 * low) & (values <= 1.001 * high)
    # a log-uniform law has its mean in the middle, with a known error
    middle = np.log(values / low).mean() / np.log(high / low)
    return bool(inside.all() and abs(middle - 0.5) < 5 / math.sqrt(12 * len(values)))


def _energy_words(dataset: ChallengeDataset) -> str:
    if len(dataset.energies) > 2:
        return "are the 15 powers of 2 from 256 MeV to 4.2 TeV"
    return "are log-uniform from 1 GeV to 1 TeV"


def _last_if_nan(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"
