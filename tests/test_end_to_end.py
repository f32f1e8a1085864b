"""From a file to a compared file of new events, for every kind of column."""

import awkward as ak
import h5py
import numpy as np
import pytest

import physgen as pg
from physgen.simulators import IsingRing

SMALL = pg.Diffusion(n_hidden=16, n_blocks=1, n_sampling_steps=4)


def same(a, b):
    return a.schema == b.schema and all(ak.array_equal(a[n], b[n]) for n in a.schema.names)


def test_the_calls_of_the_readme(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    truth = pg.read_events(
        data_dir / "zmumu.root", fields=["mu1_pt", "mu1_eta", "met", "njet"], stop=5000
    )
    train, test = truth.split(0.8, rng=0)
    s = pg.Surrogate.fit(train, SMALL, conditions=["njet"], budget="0.2s", rng=1)
    fake = s(1000, {"njet": test["njet"][:1000]}, rng=2)
    s.save("run")
    s = pg.Surrogate.load("run")
    assert same(s(1000, {"njet": test["njet"][:1000]}, rng=2), fake)
    pg.write_events("fake.root", fake)
    pg.write_events("fake.h5", fake)
    assert same(pg.read_events("fake.root"), fake)
    assert same(pg.read_events("fake.h5"), fake)
    report = pg.compare(test[:1000], fake, rng=0)
    assert str(report).startswith(report.verdict[:40])
    report.save("report.html")
    assert report.to_dict()["verdict"] == report.verdict
    assert same(pg.Events(test.schema, {name: test[name] for name in test.schema.names}), test)


@pytest.mark.parametrize("name", ["fake.root", "fake.h5"])
def test_jets(data_dir, tmp_path, name):
    names = ["njet", "ht", "Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"]
    truth = pg.read_events(data_dir / "zmumu.root", fields=names, stop=3000)
    train, test = truth.split(0.6, rng=0)
    training = pg.TrainingConfig(steps=60, batch_size=128)
    fake = pg.Surrogate.fit(train, SMALL, training=training, rng=1)(500, rng=2)
    pg.write_events(tmp_path / name, fake)
    found = pg.read_events(tmp_path / name)
    assert same(found, fake)
    np.testing.assert_array_equal(found.multiplicity("Jet_pt"), found["njet"])
    np.testing.assert_array_equal(found["ht"] == 0, found["njet"] == 0)
    assert ak.all(found["Jet_pt"][:, :-1] >= found["Jet_pt"][:, 1:])
    assert ak.min(found["Jet_pt"]) >= ak.min(train["Jet_pt"])
    assert "Jet_pt leading" in str(pg.compare(test, found, rng=0))


@pytest.mark.usefixtures("quick_images")
def test_showers(data_dir, tmp_path):
    binning = data_dir / "binning_576.xml"
    train, test = pg.read_events(data_dir / "showers.h5", binning=binning).split(0.7, rng=0)
    test = test[:100]
    training = pg.TrainingConfig(steps=20, batch_size=32)
    surrogate = pg.Surrogate.fit(train, SMALL, training=training, rng=1)
    assert surrogate.schema.with_role("condition") == ("incident_energies",)
    given = {"incident_energies": test["incident_energies"]}
    fake = surrogate(len(test), given, rng=2)
    pg.write_events(tmp_path / "fake.h5", fake)
    with h5py.File(tmp_path / "fake.h5") as file:
        assert file["showers"].shape == (len(test), 576)
        assert file["incident_energies"].shape == (len(test), 1)
    found = pg.read_events(tmp_path / "fake.h5", binning=binning)
    assert same(found, fake)
    energies = found["showers"]
    assert energies[energies > 0].min() >= train["showers"][train["showers"] > 0].min()
    assert "total energy [MeV]" in str(pg.compare(test, found, rng=0))


@pytest.mark.usefixtures("quick_images")
@pytest.mark.parametrize("family", [SMALL, pg.GAN(), pg.VAE(), pg.RBM(), pg.EBM()])
def test_spins(family, tmp_path):
    truth = IsingRing(n_spins=6)(500, {"beta": 0.4}, rng=0)
    fake = pg.Surrogate.fit(truth, family, steps=20, rng=1)(300, {"beta": 0.4}, rng=2)
    for name in ("fake.root", "fake.h5"):
        pg.write_events(tmp_path / name, fake)
        found = pg.read_events(tmp_path / name)
        assert same(found, fake)
    assert found["spins"].dtype == np.int8
    assert set(np.unique(found["spins"])) == {-1, 1}
    assert "energy per spin of spins" in str(pg.compare(truth, found, rng=0))


@pytest.mark.parametrize("family", [pg.RBM(n_hidden=16), pg.VAE(n_hidden=16)])
def test_digits(family, shared_data, tmp_path):
    digits = pg.read_events(shared_data / "mnist" / "t10k-images-idx3-ubyte.gz", stop=1000)
    fake = pg.Surrogate.fit(digits, family, steps=50, rng=1)(100, rng=2)
    pg.write_events(tmp_path / "fake-idx3-ubyte.gz", fake)
    found = pg.read_events(tmp_path / "fake-idx3-ubyte.gz")
    assert same(found, fake)
    assert (found["images"].dtype, found["images"].shape) == (np.uint8, (100, 28, 28))


def test_negative_weights(tmp_path):
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=400), "w": rng.normal(1, 2, 400)}
    truth = pg.Events.from_dict(columns)
    truth = truth.replace_schema(truth.schema.with_field("w", role="weight"))
    assert (truth["w"] < 0).any()
    fake = pg.Surrogate.fit(truth, SMALL, steps=20, rng=1)(400, rng=2)
    for name in ("fake.root", "fake.h5"):
        pg.write_events(tmp_path / name, fake)
        assert same(pg.read_events(tmp_path / name), fake)
    np.testing.assert_allclose(fake["w"], truth["w"].mean())
    assert "some event weights are negative" in str(pg.compare(truth, fake, rng=0))


@pytest.mark.parametrize(
    "settings", [pg.GAN(n_hidden=64), pg.VAE(n_hidden=64), pg.Diffusion(n_hidden=64)]
)
def test_rare_categories_keep_their_share(settings):
    """Flags set one by one made the first category out of every row without a flag."""
    codes, share = np.array([-211, -13, -11, 11, 13, 22, 130, 211]), [0.05] + [0.95 / 7] * 7
    truth = pg.Events.from_dict({"code": np.random.default_rng(0).choice(codes, 10_000, p=share)})
    training = pg.TrainingConfig(steps=600, batch_size=256)
    fake = pg.Surrogate.fit(truth, settings, training=training, rng=1)(5000, rng=2)
    made = np.array([np.mean(fake["code"] == code) for code in codes])
    assert made.sum() == pytest.approx(1)
    assert abs(made[0] - share[0]) < 0.04
    assert np.abs(made - share).max() < 0.07
