"""Whole arrays of the events (lattices, images, showers): tests on all their numbers, pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from physgen.estimates import Estimate
from physgen.events import Events
from physgen.files.binning import Binning
from physgen.metrics.classifier import classifier_test
from physgen.metrics.kernels import mmd
from physgen.metrics.resampling import Design
from physgen.report.findings import Picture
from physgen.schema import Field

__all__ = ["array_fields", "compare_arrays", "pictures"]

_MIN_NUMBERS = 9  # arrays of fewer are compared number by number
_MAX_EVENTS = 4_000  # per side, for tests whose cost grows with all numbers of an array
_MAX_IMAGES = 3_000  # a network costs more
_N_EXAMPLES = 4


def array_fields(
    reference: Events, candidate: Events, fields: Sequence[str] | None
) -> list[Field]:
    """Fields of a fixed shape with many numbers per event that both samples have."""
    return [
        f
        for f in reference.schema
        if f.name in candidate.schema
        and (fields is None or f.name in fields)
        and not f.jagged
        and f.role == "observable"
        and math.prod(f.shape) >= _MIN_NUMBERS
    ]


def compare_arrays(
    reference: Events,
    candidate: Events,
    arrays: Sequence[Field],
    design: Design,
    *,
    n_permutations: int,
    seed: int,
) -> dict[str, Estimate]:
    """MMD and an image classifier on all numbers of each array field.

    What no observable shows is seen here: the summaries of a lattice or a shower are few, its
    numbers many.
    """
    found = {}
    for field in arrays:
        shape = _image_shape(reference, field)
        x, y = (_numbers(e[field.name]) for e in (reference, candidate))
        found[f"MMD² of {field.name}"] = mmd(
            x,
            y,
            weights=design,
            kernel="hamming" if _is_spins(field) else "gaussian",
            n_permutations=n_permutations,
            max_events=_MAX_EVENTS,
            rng=seed,
        )
        if len(shape) in (2, 3):
            found[f"classifier AUC on {field.name}"] = _image_auc(x, y, shape, design, field, seed)
    return found


def _image_auc(
    x: np.ndarray, y: np.ndarray, shape: Sequence[int], design: Design, field: Field, seed: int
) -> Estimate:
    from physgen.metrics.image_classifier import image_classifier

    periodic = tuple(range(len(shape))) if _is_spins(field) else ()
    return classifier_test(
        x.reshape(len(x), *shape),
        y.reshape(len(y), *shape),
        weights=design,
        fit=image_classifier(tuple(shape), periodic=periodic),
        n_folds=2,
        refit_floor=False,
        max_events=_MAX_IMAGES,
        rng=seed + 1,
    ).auc


def pictures(
    reference: Events, candidate: Events, arrays: Sequence[Field], design: Design
) -> tuple[Picture, ...]:
    """Means, their difference in standard errors, and some events, of each array field."""
    found = []
    for field in arrays:
        shape = _image_shape(reference, field)
        if len(shape) not in (2, 3):
            continue
        ours, theirs = (
            _flattened(np.asarray(e[field.name]).reshape(len(e), *shape))
            for e in (reference, candidate)
        )
        found.append(
            Picture(
                name=field.name,
                unit=field.unit,
                reference=_mean(ours, design.a),
                candidate=_mean(theirs, design.b),
                pull=_pull(ours, theirs, design),
                examples=(ours[:_N_EXAMPLES], theirs[:_N_EXAMPLES]),
            )
        )
    return tuple(found)


def _image_shape(events: Events, field: Field) -> tuple[int, ...]:
    """Shape as an image: that of the field, or that of a regular binning of its voxels."""
    if len(field.shape) != 1 or "binning" not in events.schema.conventions:
        return field.shape
    binning = Binning.from_schema(events.schema)
    if binning.n_voxels != field.shape[0] or not binning.is_regular:
        return field.shape
    return binning.shape


def _is_spins(field: Field) -> bool:
    return field.allowed is not None and set(field.allowed) == {-1, 1}


def _numbers(column: np.ndarray) -> np.ndarray:
    values = np.asarray(column)
    return values.reshape(len(values), -1).astype(np.float32)


def _flattened(images: np.ndarray) -> np.ndarray:
    """Three axes as two: summed over the first (layers along the shower)."""
    return images.sum(axis=1) if images.ndim == 4 else images


def _mean(images: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.tensordot(weights, images, axes=1)


def _pull(ours: np.ndarray, theirs: np.ndarray, design: Design) -> np.ndarray:
    variance = np.zeros(ours.shape[1:])
    means = []
    for images, w, tau in zip((ours, theirs), (design.a, design.b), design.tau, strict=True):
        mean = _mean(images, w)
        square = np.tensordot(w**2, np.square(images - mean), axes=1)
        variance += 2 * tau * square
        means.append(mean)
    difference = means[1] - means[0]
    # rounding of a pixel that never changes is no variance
    smallest = (1e-6 * np.maximum(np.abs(means[0]), np.abs(means[1]))) ** 2
    return np.divide(difference, np.sqrt(variance), out=np.zeros_like(difference),
                     where=variance > smallest)  # fmt: skip
