import numpy as np
import pytest
import torch
from scipy import stats

from physgen.metrics.classifier import auc, boosted_trees, classifier_test
from physgen.metrics.image_classifier import image_classifier


def lattices(n, temperature, seed, *, n_side=16, n_sweeps=60):
    """Ising lattices by heat bath on a checkerboard."""
    rng = np.random.default_rng(seed)
    spins = np.where(rng.random((n, n_side, n_side)) < 0.5, 1, -1).astype(np.int8)
    black = np.add.outer(np.arange(n_side), np.arange(n_side)) % 2 == 0
    for sweep in range(2 * n_sweeps):
        around = sum(np.roll(spins, step, axis) for step in (-1, 1) for axis in (1, 2))
        chance = (1 / (1 + np.exp(-2 * np.arange(-4, 5) / temperature))).astype(np.float32)
        up = rng.random(spins.shape, dtype=np.float32) < chance[around + 4]
        spins = np.where(black == (sweep % 2 == 0), np.where(up, 1, -1), spins).astype(np.int8)
    return spins


def energy(spins):
    s = spins.astype(int)
    return -(s * np.roll(s, 1, 1) + s * np.roll(s, 1, 2)).sum(axis=(1, 2))


def held_out_auc(fit, x, y, seed=0):
    """Trained on two thirds, judged on one; with the error of the AUC under the null."""
    n = len(x) * 2 // 3
    seen, labels = np.concatenate((x[:n], y[:n])), np.repeat([0, 1], n)
    score = fit(seen, labels, None, seed=seed)
    m = len(x) - n
    w = np.full(m, 1 / m)
    value = auc(score(np.concatenate((x[n:], y[n:]))), w, w)
    return value, np.sqrt((2 * m + 1) / (12 * m * m))


def flat_trees(x, labels, weights, *, seed):
    score = boosted_trees(x.reshape(len(x), -1), labels, weights, seed=seed)
    return lambda events: score(events.reshape(len(events), -1))


def test_lattices_at_two_temperatures():
    """Few per cent apart; the energy is all there is to know, and trees do not find it."""
    x, y = lattices(1200, 2.5, 0), lattices(1200, 2.6, 1)
    fit = image_classifier((16, 16), periodic=(0, 1), n_steps=250)
    found, error = held_out_auc(fit, x, y)
    best, _ = held_out_auc(lambda *_, **__: energy, x, y)
    trees, _ = held_out_auc(flat_trees, x, y)
    assert found > 0.5 + 3 * error
    assert found > best - 2 * error
    assert found > trees + error


@pytest.mark.slow
def test_lattices_at_two_temperatures_by_the_whole_test():
    x, y = lattices(4000, 2.5, 0), lattices(4000, 2.55, 1)
    fit = image_classifier((16, 16), periodic=(0, 1))
    found = classifier_test(x, y, fit=fit, rng=0)
    assert found.auc.p_value < 1e-6
    assert found.auc.value > 0.55
    null = classifier_test(x, lattices(4000, 2.5, 2), fit=fit, rng=0)
    assert null.auc.p_value > 0.001


def null_pulls(n_repetitions, n, n_steps):
    fit = image_classifier((8, 8), periodic=(0,), n_steps=n_steps)
    pulls = []
    for seed in range(n_repetitions):
        x, y = np.random.default_rng(seed).normal(size=(2, n, 8, 8))
        value, error = held_out_auc(fit, x, y, seed)
        pulls.append((value - 0.5) / error)
    return np.array(pulls)


@pytest.mark.parametrize(
    ("n_repetitions", "n", "n_steps"),
    [(20, 90, 15), pytest.param(200, 600, 100, marks=pytest.mark.slow)],
)
def test_size(n_repetitions, n, n_steps):
    pulls = null_pulls(n_repetitions, n, n_steps)
    assert abs(pulls.mean()) < 4 / np.sqrt(n_repetitions)
    assert (pulls > 1.645).sum() <= stats.binom.ppf(0.999, n_repetitions, 0.05)
    assert stats.kstest(pulls, "norm").pvalue > 0.001


def test_a_place_is_seen_where_the_axis_has_ends():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 600, 8, 8))
    x[:, 1], y[:, 5] = x[:, 1] + 0.5, y[:, 5] + 0.5
    seen, error = held_out_auc(image_classifier((8, 8), n_steps=100), x, y)
    assert seen > 0.8
    # on a periodic axis places 4 cells apart count as alike
    unseen, error = held_out_auc(image_classifier((8, 8), periodic=(0, 1), n_steps=100), x, y)
    assert abs(unseen - 0.5) < 4 * error


def test_voxels_of_a_shower():
    """Energies over four decades, most of them zero; twice the energy in one layer."""
    rng = np.random.default_rng(1)
    x, y = rng.lognormal(0, 2, (2, 600, 5, 6, 4)) * (rng.random((2, 600, 5, 6, 4)) < 0.3)
    y[:, 3] *= 2
    fit = image_classifier((5, 6, 4), periodic=(1,), n_steps=60)
    found, error = held_out_auc(fit, x, y)
    flat, _ = held_out_auc(fit, x.reshape(600, -1), y.reshape(600, -1))
    assert found > 0.5 + 4 * error
    assert flat == found


def test_the_same_seed_gives_the_same_scores_and_moves_no_global_generator():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(200, 6, 5)), np.arange(200) % 2
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    fit = image_classifier((6, 5), n_steps=10)
    scores = [fit(x, labels, None, seed=seed)(x) for seed in (3, 3, 4)]
    assert (scores[0] == scores[1]).all()
    assert (scores[0] != scores[2]).any()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_weights_are_learned():
    """With weights that undo the difference there is nothing to learn."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 4, 4))
    labels = np.arange(3000) % 2
    x[labels == 1] += 0.3
    weights = np.where(labels == 1, np.exp(-0.3 * x.sum(axis=(1, 2)) + 0.5 * 16 * 0.09), 1.0)
    fit = image_classifier((4, 4), n_steps=100)
    means = [fit(x, labels, w, seed=0)(x[labels == 1]).mean() for w in (None, weights)]
    assert abs(means[1]) < 0.5 * means[0]


def test_constant_images_give_no_number_that_is_not_finite():
    x, labels = np.zeros((100, 5, 5)), np.arange(100) % 2
    assert np.isfinite(image_classifier((5, 5), n_steps=5)(x, labels, None, seed=0)(x)).all()


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="2 or 3 axes"):
        image_classifier((5,))
    with pytest.raises(ValueError, match=r"among 0 to 1, got \(2,\)"):
        image_classifier((5, 5), periodic=(2,))
    with pytest.raises(ValueError, match="images of"):
        image_classifier((5, 5))(np.zeros((10, 24)), np.zeros(10), None, seed=0)


def test_images_below_zero_are_seen():
    rng = np.random.default_rng(0)
    x, labels = rng.uniform(-2, -1, size=(400, 6, 6)), np.arange(400) % 2
    x[labels == 1, 2:4, 2:4] -= 1
    score = image_classifier((6, 6), n_steps=60)(x[:200], labels[:200], None, seed=0)
    assert ((score(x[200:]) > 0) == labels[200:]).mean() > 0.9
