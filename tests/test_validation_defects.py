"""Truth against truth passes, seeded defects fail, and the report says where."""

import numpy as np
import pytest

import physgen as pg
from physgen.simulators import Ising2D

SHARED = "../shared/data"


@pytest.fixture(scope="module")
def zmumu(request):
    return pg.read_events(request.config.rootpath / "data" / "zmumu.root")


def shared(request, name, **arguments):
    folder = request.config.rootpath / SHARED
    if not (folder / name).exists():
        pytest.skip(f"{SHARED}/{name} is not there")
    binning = arguments.pop("binning", None)
    if binning:
        arguments["binning"] = folder / binning
    return pg.read_events(folder / name, **arguments)


def halves(events, n=None, seed=0):
    first, second = events.split(0.5, rng=seed)
    return (first, second) if n is None else (first[:n], second[:n])


def passes(reference, candidate, **arguments):
    report = pg.compare(reference, candidate, **arguments)
    assert report.outcome == "pass", report.verdict
    return report


def fails(reference, candidate, *places, **arguments):
    report = pg.compare(reference, candidate, **arguments)
    assert report.outcome == "fail", report.verdict
    assert any(place in report.verdict for place in places), report.verdict
    return report


# truth against truth


def test_halves_of_zmumu_pass(zmumu):
    passes(*halves(zmumu, 4000), tolerance=0.25, max_auc=0.6, max_events=2000)


@pytest.mark.usefixtures("quick_images")
def test_lattices_of_one_temperature_pass():
    lattices = [Ising2D(8)(1500, {"beta": 0.42}, rng=seed) for seed in (1, 2)]
    passes(*lattices, tolerance=0.35, max_auc=0.65)


@pytest.mark.slow
def test_halves_of_all_of_zmumu_pass(zmumu):
    passes(*halves(zmumu))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jets_gluon.h5", "jets_top.h5"])
def test_halves_of_jets_pass(request, name):
    # 10,000 a side exclude 0.11 sigma
    passes(*halves(shared(request, name)), tolerance=0.13)


@pytest.mark.slow
def test_halves_of_showers_pass(request):
    showers = shared(request, "showers/electrons_576.h5", binning="showers/binning_576.xml")
    passes(*halves(showers))


@pytest.mark.slow
def test_many_lattices_of_one_temperature_pass():
    passes(*(Ising2D(16)(20_000, {"beta": 0.42}, rng=seed) for seed in (1, 2)))


# defects


def test_a_column_shifted_by_a_tenth_of_sigma_fails_there(zmumu):
    truth, made = halves(zmumu, 10_000)
    moved = made.with_columns({"met": made["met"] + 0.1 * made["met"].std()})
    fields = ["mu1_pt", "mu1_eta", "mu2_pt", "mu2_eta", "met"]
    given = {"fields": fields, "observables": False, "max_events": 2000, "max_auc": 0.6}
    report = fails(truth, moved, "worst met, as far off as a 0.1", tolerance=0.05, **given)
    assert report.table[0].name == "met"
    assert report.table[0].worth.upper < 9  # (0.3 / 0.1)^2 of a Gaussian; met is skew
    again = pg.compare(truth, made, tolerance=0.15, **given)
    assert again.outcome == "pass", again.verdict


def test_a_lost_correlation_fails_there(zmumu):
    truth, made = halves(zmumu, 8000)
    order = np.random.default_rng(0).permutation(len(made))
    made = made.with_columns({"met": made["met"][order]})
    fields = ["mu1_pt", "mu2_pt", "met", "ht"]
    report = fails(
        truth, made, "correlation of", fields=fields, observables=False, max_events=2000
    )
    assert "met" in report.verdict
    assert min(row.p_value for row in report.table) > 0.01


@pytest.mark.slow  # smaller in tests/test_validation.py
def test_copies_of_training_events_fail_as_copies(zmumu):
    train, made = halves(zmumu)
    truth, made = made[:8000], made[8000:16_000]
    copied = pg.concatenate((made[:7920], train[:80]))
    fields = ["mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "met"]
    given = {"fields": fields, "observables": False, "max_events": 2000, "train": train[:20_000]}
    report = fails(truth, copied, "80 candidate events equal a training event", **given)
    assert report.memorization.n_exact == 80
    clean = pg.compare(truth, made, tolerance=0.2, max_auc=0.6, **given)
    assert clean.outcome == "pass", clean.verdict


def test_a_dropped_mode_fails_there(zmumu):
    truth, made = halves(zmumu, 8000)
    fields = ["njet", "ht", "met", "mu1_pt"]
    some = made[made["njet"] != 1]
    report = fails(truth, some, "njet", fields=fields, observables=False, max_events=2000)
    njet = next(row for row in report.table if row.name == "njet")
    assert njet.region.low <= 1 < njet.region.high
    assert njet.region.candidate == 0
    assert "too few events" in njet.region.words("")


@pytest.mark.usefixtures("quick_images")
def test_a_wrong_temperature_fails_in_the_energy():
    truth = Ising2D(16)(1500, {"beta": 0.42}, rng=1)[["spins"]]
    made = Ising2D(16)(1500, {"beta": 0.42 * 0.98}, rng=2)[["spins"]]
    report = fails(truth, made, "energy per spin", "correlation of spins", "classifier")
    energy = next(row for row in report.table if row.name.startswith("energy"))
    assert energy.p_value < 0.01
    assert energy.shift > 0.2


def test_a_wrong_width_at_one_condition_fails_there():
    rng = np.random.default_rng(0)
    energy = np.repeat([1.0, 2.0, 4.0, 8.0], 1500)
    width = np.where(energy == 4.0, 0.14, 0.1)
    samples = [
        pg.Events.from_dict({"energy": energy, "response": 1 + w * rng.normal(size=6000)})
        for w in (0.1, width)
    ]
    given = [e.replace_schema(e.schema.with_field("energy", role="condition")) for e in samples]
    report = pg.compare(*given, tolerance=0.15, max_events=3000)
    assert report.outcome == "fail"
    worst = min(report.slices, key=lambda part: part.p_value)
    assert (worst.label, worst.worst) == ("energy 4", "response")
    assert sorted(part.p_value < 0.01 for part in report.slices) == [False, False, False, True]
