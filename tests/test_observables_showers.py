import numpy as np
import pytest

import physgen as pg
from physgen.files.binning import Binning, Layer
from physgen.observables import (
    energy_ratio,
    layer_energies,
    layer_features,
    total_energy,
    voxel_energies,
)

LAYERS = (
    Layer(0, (0.0, 5.0, 10.0, 20.0), 1),
    Layer(1, (0.0, 2.0, 6.0), 4),
    Layer(12, (0.0, 8.0), 3),
)
N_VOXELS = 3 + 8 + 3


def showers(n=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.exponential(size=(n, N_VOXELS)) * (rng.random((n, N_VOXELS)) < 0.6)


def by_loops(shower):
    """The challenge's features of one shower, voxel by voxel."""
    found, k = [], 0
    for layer in LAYERS:
        total, n_on, sums = 0.0, 0, np.zeros((2, 3))
        for i in range(layer.n_alpha):
            alpha = -np.pi + (i + 0.5) * 2 * np.pi / layer.n_alpha
            for j in range(layer.n_r):
                r = (layer.r_edges[j] + layer.r_edges[j + 1]) / 2
                x = np.array([r * np.cos(alpha), r * np.sin(alpha), r])
                sums += shower[k] * np.stack((x, x**2))
                total, n_on, k = total + shower[k], n_on + (shower[k] > 0), k + 1
        first, second = sums / (total + 1e-16)
        width = np.sqrt(np.clip(second - first**2, 0, None))
        found.append([total, 1 - n_on / layer.n_voxels, *first, *width])
    return np.array(found)


def as_array(features):
    names = ("energy", "sparsity", "center_eta", "center_phi", "center_r")
    widths = ("width_eta", "width_phi", "width_r")
    return np.stack([getattr(features, name) for name in (*names, *widths)], axis=2)


def test_features_against_a_loop_over_voxels():
    e = showers()
    e[0] = 0
    loops = np.stack([by_loops(one) for one in e])
    found = layer_features(e, LAYERS)
    assert as_array(found) == pytest.approx(loops, abs=1e-7)
    assert found.has_angles.tolist() == [False, True, True]
    assert as_array(layer_features(e.astype(np.float32), LAYERS)) == pytest.approx(loops, abs=1e-5)


def test_one_voxel_lies_at_its_center():
    e = np.zeros((1, N_VOXELS))
    e[0, 3 + 2 * 2 + 1] = 7.0  # layer 1: third angle of four, at +45 degrees, ring from 2 to 6
    f = layer_features(e, LAYERS)
    assert f.energy.tolist() == [[0, 7, 0]]
    assert f.sparsity[0] == pytest.approx([1, 7 / 8, 1])
    assert (f.center_eta[0, 1], f.center_phi[0, 1], f.center_r[0, 1]) == pytest.approx(
        (np.sqrt(8), np.sqrt(8), 4)
    )
    assert f.width_eta[0, 1] == pytest.approx(0, abs=1e-6)


def test_a_turn_by_one_bin_turns_the_center():
    e = showers()
    turned = e.copy()
    turned[:, 3:11] = np.roll(e[:, 3:11], 2, axis=1)  # a quarter of a turn: (x, y) -> (-y, x)
    a, b = layer_features(e, LAYERS), layer_features(turned, LAYERS)
    assert b.center_eta[:, 1] == pytest.approx(-a.center_phi[:, 1])
    assert b.center_phi[:, 1] == pytest.approx(a.center_eta[:, 1])
    assert b.width_eta[:, 1] == pytest.approx(a.width_phi[:, 1])
    assert b.center_r == pytest.approx(a.center_r)


def test_a_common_factor_changes_energies_only():
    e = showers()
    a, b = layer_features(e, LAYERS), layer_features(3 * e, LAYERS)
    assert b.energy == pytest.approx(3 * a.energy)
    assert as_array(b)[..., 1:] == pytest.approx(as_array(a)[..., 1:], abs=1e-6)


def test_voxels_below_the_threshold_are_zero():
    e = showers()
    cut = np.where(e < 0.5, 0, e)
    assert (
        as_array(layer_features(e, LAYERS, threshold=0.5)).tolist()
        == as_array(layer_features(cut, LAYERS)).tolist()
    )
    assert sorted(voxel_energies(e, threshold=0.5)) == sorted(e[e > 0.5])
    assert voxel_energies(e).sum() == pytest.approx(e.sum())


def test_real_showers_agree_with_the_plain_sums(request):
    data = request.config.rootpath / "data"
    events = pg.read_events(data / "showers.h5", binning=data / "binning_576.xml")[:200]
    binning = Binning.from_schema(events.schema)
    f = layer_features(events["showers"], binning.layers)
    assert f.energy == pytest.approx(layer_energies(events["showers"], binning.shape), rel=1e-6)
    assert f.energy.sum(axis=1) == pytest.approx(total_energy(events["showers"]), rel=1e-6)
    ratio = energy_ratio(events["showers"], events["incident_energies"])
    assert 0.93 < ratio.mean() < 0.97  # what its makers measured: 0.940 to 0.950
    center = f.center_eta.mean(axis=0)
    assert np.abs(center / (f.center_eta.std(axis=0) / np.sqrt(200))).max() < 4  # along the axis


def test_another_number_of_voxels_is_refused():
    with pytest.raises(ValueError, match=r"the 14 voxels of these 3 layers, got \(5, 13\)"):
        layer_features(showers()[:, 1:], LAYERS)
