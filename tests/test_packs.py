import awkward as ak
import numpy as np
import pytest

import physgen as pg
from physgen.files.binning import Binning, Layer
from physgen.observables import (
    cluster_sizes,
    cos_theta_star,
    invariant_mass,
    ising_energy,
    jet_mass,
    layer_features,
    leading,
    magnetization,
    pair_pt,
    spin_correlations,
)
from physgen.packs import PACKS, find_packs

PARTS = ("pt", "eta", "phi")


def kinematics(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(10, 50, n), rng.normal(size=n), rng.uniform(-np.pi, np.pi, n)


def two_objects(first, second, n=20, **more):
    columns = {}
    for k, pattern in enumerate((first, second)):
        columns |= dict(zip((pattern.format(p) for p in PARTS), kinematics(n, k), strict=True))
    return pg.Events.from_dict(columns | more, units={first.format("pt"): "GeV"})


def spins(shape=(6, 6), n=10):
    values = np.where(np.random.default_rng(0).random((n, *shape)) < 0.6, 1, -1).astype(np.int8)
    events = pg.Events.from_dict({"s": values})
    return events.replace_schema(events.schema.with_field("s", allowed=(-1, 1)))


def only(events, names=None):
    (pack,) = find_packs(events, names)
    return pack, pack.observe(events)


def test_spins():
    events = spins((16, 16))
    pack, columns = only(events)
    s = events["s"]
    assert (pack.name, pack.replaces) == ("ising", ("s",))
    assert columns["magnetization of s"].tolist() == magnetization(s).tolist()
    assert columns["|magnetization| of s"].tolist() == np.abs(magnetization(s)).tolist()
    assert columns["energy per spin of s"].tolist() == (ising_energy(s) / 256).tolist()
    for r in (2, 4, 8):
        c = spin_correlations(s)[:, r]
        assert columns[f"correlation of s at distance {r}"].tolist() == c.tolist()
    assert columns["largest cluster of s"].tolist() == (leading(cluster_sizes(s)) / 256).tolist()
    assert len(columns) == 7


def test_few_spins_are_also_compared_one_by_one():
    assert only(spins((2, 2)))[0].replaces == ()
    assert only(spins((3, 3)))[0].replaces == ("s",)


@pytest.mark.parametrize(
    ("first", "second", "label"),
    [
        ("mu1_{}", "mu2_{}", "mu1 mu2"),
        ("{}1", "{}2", "1 2"),
        ("{}_l1", "{}_l2", "l1 l2"),
        ("muplus_{}", "muminus_{}", "muminus muplus"),
        ("Lep_1_{}", "Lep_2_{}", "Lep_1 Lep_2"),
    ],
)
def test_pairs_are_known_by_their_names(first, second, label):
    events = two_objects(first, second, met_phi=np.zeros(20))
    pack, columns = only(events)
    v = [events[pattern.format(p)] for pattern in (first, second) for p in PARTS]
    assert (pack.name, pack.replaces) == ("pairs", ())
    unit = " [GeV]" if label != "muminus muplus" else ""  # only the first has a unit here
    assert columns[f"m({label}){unit}"] == pytest.approx(invariant_mass(*v))
    assert columns[f"pt({label}){unit}"] == pytest.approx(pair_pt(v[0], v[2], v[3], v[5]))
    assert columns[f"|cos theta*|({label})"] == pytest.approx(np.abs(cos_theta_star(*v)))
    assert set(columns) >= {f"y({label})", f"delta phi({label}) [rad]", f"delta eta({label})"}


def test_pairs_take_charges_and_masses():
    charge = np.where(np.arange(20) % 2, 1, -1).astype(np.int32)
    events = two_objects("mu1_{}", "mu2_{}", mu1_charge=charge)
    v = [events[f"mu{k}_{p}"] for k in (1, 2) for p in PARTS]
    found = only(events)[1]["cos theta*(mu1 mu2)"]
    assert found.tolist() == cos_theta_star(*v, charge).tolist()
    heavy = two_objects("b1_{}", "b2_{}", b1_mass=np.full(20, 5.0), b2_mass=np.full(20, 6.0))
    columns = only(heavy)[1]
    assert columns["m(b1 b2) [GeV]"] == pytest.approx(invariant_mass(*v, 5.0, 6.0))
    assert not any("theta" in name for name in columns)


def test_lists_give_their_leading_pair():
    pt, eta, phi = (
        ak.Array([[a, b, 9.0], [a], [], [b, a]])
        for a, b in ((30.0, 20.0), (0.5, -0.5), (1.0, -2.0))
    )
    events = pg.Events.from_dict({"Jet_pt": pt, "Jet_eta": eta, "Jet_phi": phi})
    pack, columns = only(events)
    mass = float(invariant_mass(30, 0.5, 1.0, 20, -0.5, -2.0))
    assert columns["m(Jet1 Jet2)"] == pytest.approx([mass, 0, 0, mass])
    assert columns["delta eta(Jet1 Jet2)"].tolist() == [1, 0, 0, -1]
    assert columns["delta phi(Jet1 Jet2) [rad]"] == pytest.approx([3, 0, 0, -3])
    assert "leading entries" in pack.reason


def test_lists_of_several_collections_are_no_particles():
    lists = ak.Array([[2.0, 1.0], [1.0, 0.5]])
    names = ("Jet_pt", "Jet_eta", "Jet_phi")
    for collections, n_packs in ((("Jet",) * 3, 1), (("Jet", "Jet", "Other"), 0)):
        fields = (
            pg.Field(n, jagged=True, collection=c) for n, c in zip(names, collections, strict=True)
        )
        events = pg.Events(pg.Schema(tuple(fields)), dict.fromkeys(names, lists))
        assert len(find_packs(events, None)) == n_packs


def test_a_momentum_below_zero_is_no_pair():
    events = two_objects("a1_{}", "a2_{}")
    wrong = events.with_columns({"a1_pt": -events["a1_pt"]})
    for column in only(wrong)[1].values():
        assert np.isfinite(column).all()
    assert not only(wrong)[1]["m(a1 a2) [GeV]"].any()


def test_one_particle_and_at_most_four_pairs():
    single = dict(zip(("mu_pt", "mu_eta", "mu_phi"), kinematics(5), strict=True))
    assert find_packs(pg.Events.from_dict(single)) == []
    columns = {
        f"{stem}{k}_{p}": v
        for stem in "abcdef" for k in (1, 2) for p, v in zip(PARTS, kinematics(5, k), strict=True)
    }  # fmt: skip
    assert len(find_packs(pg.Events.from_dict(columns))) == 4


def jets(n=30):
    rng = np.random.default_rng(0)
    features = rng.normal(0, 0.1, (n, 6, 4))
    features[..., 2] = np.abs(features[..., 2])
    features[..., 3] = np.arange(6) < rng.integers(0, 7, n)[:, None]
    return features


def test_jets_as_an_array_and_as_lists():
    features = jets()
    pack, columns = only(pg.Events.from_dict({"particle_features": features}))
    assert (pack.name, pack.replaces) == ("jets", ("particle_features",))
    kept = features[..., 3] == 1
    names = ("particle_eta_rel", "particle_phi_rel", "particle_pt_rel")
    lists = {
        name: ak.unflatten(features[..., i][kept], kept.sum(axis=1))
        for i, name in enumerate(names)
    }
    pack, again = only(pg.Events.from_dict(lists))
    assert pack.replaces == names
    assert columns.keys() == again.keys()
    for name in columns:
        assert again[name] == pytest.approx(columns[name]), name
    eta, phi, pt = (np.where(kept, features[..., i], 0) for i in range(3))
    assert columns["number of particles"].tolist() == kept.sum(axis=1).tolist()
    assert columns["jet mass / pt"] == pytest.approx(jet_mass(eta, phi, pt))
    assert columns["pt_rel of the leading particle"].tolist() == pt.max(axis=1).tolist()
    hardest = eta[np.arange(30), pt.argmax(axis=1)]
    assert columns["eta_rel of the leading particle"].tolist() == hardest.tolist()


LAYERS = tuple(Layer(k, (0.0, 2.0, 5.0, 10.0), 4 if k else 1) for k in range(5))


def showers(**conventions):
    rng = np.random.default_rng(0)
    n_voxels = 3 + 4 * 12
    e = (rng.exponential(size=(40, n_voxels)) * (rng.random((40, n_voxels)) < 0.7)).astype("f4")
    e[:, 3 + 12 : 3 + 24] *= 5  # layer 2 has the most energy
    columns = {"incident_energies": rng.uniform(50, 60, 40).astype("f4"), "showers": e}
    units = dict.fromkeys(columns, "MeV")
    return pg.Events.from_dict(columns, units=units, conventions=conventions)


def test_showers_with_their_binning():
    events = showers(binning=Binning("electron", LAYERS).to_xml())
    pack, columns = only(events)
    e, f = events["showers"], layer_features(events["showers"], LAYERS)
    assert (pack.name, pack.replaces) == ("showers", ("showers",))
    assert columns["total energy [MeV]"] == pytest.approx(e.sum(axis=1), rel=1e-6)
    assert columns["total / incident energy"] == pytest.approx(
        e.sum(axis=1) / events["incident_energies"], rel=1e-6
    )
    assert columns["sparsity"] == pytest.approx((e == 0).mean(axis=1))
    assert columns["energy of layer 3 [MeV]"].tolist() == f.energy[:, 3].tolist()
    assert columns["width in eta of layer 2 [mm]"].tolist() == f.width_eta[:, 2].tolist()
    assert columns["center in phi of layer 2 [mm]"].tolist() == f.center_phi[:, 2].tolist()
    assert not any("eta of layer 0" in name for name in columns)  # one angle
    depth = f.energy @ np.arange(5) / f.energy.sum(axis=1)
    assert columns["depth [layers]"] == pytest.approx(depth)


def test_showers_without_binning_say_how_to_get_one():
    pack, columns = only(showers(layout="calochallenge"))
    assert (list(columns), pack.replaces) == (["total / incident energy"], ())
    assert "binning='binning.xml'" in pack.reason


@pytest.mark.parametrize("what", ["incident energy in GeV", "incident energies", "lists"])
def test_columns_that_are_only_called_showers_make_no_pack(what):
    events = showers()
    schema = events.schema
    if what == "incident energy in GeV":
        events = events.replace_schema(schema.with_field("incident_energies", unit="GeV"))
    elif what == "incident energies":
        columns = {**events.to_dict(), "incident_energies": np.ones((40, 2), "f4")}
        events = pg.Events.from_dict(columns, units=dict.fromkeys(columns, "MeV"))
    else:
        columns = {**events.to_dict(), "showers": ak.Array([[1.0], []] * 20)}
        events = pg.Events.from_dict(columns, units=dict.fromkeys(columns, "MeV"))
    assert [pack.name for pack in find_packs(events, None)] == []
    assert [pack.name for pack in find_packs(showers(), None)] == ["showers"]


def test_the_grid_of_par04_is_a_binning():
    flat = showers()["showers"][:, 3:]  # 4 layers, 4 angles, 3 rings
    grid = flat.reshape(40, 4, 4, 3).transpose(0, 3, 2, 1)  # r, phi, z
    events = pg.Events.from_dict(
        {"incident_energy": np.full(40, 50.0), "showers": grid}, conventions={"layout": "par04"}
    )
    pack, columns = only(events)
    assert pack.replaces == ("showers",)
    for k in range(4):
        expected = grid[..., k].sum(axis=(1, 2), dtype=np.float64)
        assert columns[f"energy of layer {k}"] == pytest.approx(expected)
    cells = tuple(Layer(k, (0.0, 1.0, 2.0, 3.0), 4) for k in range(4))
    f = layer_features(flat, cells)
    assert columns["center in eta of layer 1 [cells]"] == pytest.approx(f.center_eta[:, 1])


def test_real_files_find_their_packs(request):
    shared = request.config.rootpath.parent / "shared/data"
    files = {
        "zmumu.root": ["pairs", "pairs"],
        "jets_gluon.h5": ["jets"],
    }
    for name, expected in files.items():
        if not (shared / name).exists():
            pytest.skip("no such data set")
        events = pg.read_events(shared / name)[:300]
        packs = find_packs(events)
        assert [pack.name for pack in packs] == expected
        for pack in packs:
            for column in pack.observe(events).values():
                assert column.shape == (300,)
                assert column.dtype == np.float64
                assert np.isfinite(column).all()


def test_packs_by_name():
    events = spins()
    assert [pack.name for pack in find_packs(events, ["ising"])] == ["ising"]
    with pytest.raises(ValueError, match="no observables 'isin'; there are ising, pairs"):
        find_packs(events, ["isin"])
    for name in set(PACKS) - {"ising"}:
        with pytest.raises(ValueError, match=f"the observables '{name}' fit no field of s; they"):
            find_packs(events, [name])
