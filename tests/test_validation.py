import json
import re

import awkward as ak
import numpy as np
import pytest
import torch

import physgen as pg
from physgen.estimates import Estimate
from physgen.report.findings import Slice, Worth
from physgen.report.report import Correlations, Report, Row
from physgen.summaries import summarize
from physgen.validation import compare

ZMUMU = "data/zmumu.root"
KINEMATICS = ("mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi")


@pytest.fixture(scope="module")
def zmumu(request):
    path = request.config.rootpath / ZMUMU
    fields = [*KINEMATICS, "mu1_charge", "met", "met_phi", "ht", "njet"]
    return pg.read_events(path, fields=fields)


def mll(events):
    return pg.observables.invariant_mass(*(events[name] for name in KINEMATICS))


def toy(n, seed, **changes):
    rng = np.random.default_rng(seed)
    columns = {
        "pt": rng.exponential(20.0, n) + 20.0,
        "eta": rng.normal(size=n),
        "phi": rng.uniform(-np.pi, np.pi, n),
        "njet": rng.poisson(1.0, n),
    }
    columns = {k: v.astype(np.int32 if k == "njet" else np.float32) for k, v in columns.items()}
    columns.update({k: change(columns) for k, change in changes.items()})
    units = {"pt": "GeV", "phi": "rad"}
    return pg.Events.from_dict(columns, units={k: v for k, v in units.items() if k in columns})


def quick(reference, candidate, **arguments):
    return compare(reference, candidate, **{"rng": 0, "max_events": 800, **arguments})


# truth against truth


def test_halves_of_the_truth_are_told_as_no_difference(zmumu):
    alarms = 0
    for seed in range(3):
        some, _ = zmumu.split(1000 / len(zmumu), rng=seed)
        report = quick(*some.split(0.5, rng=seed), observables={"mll [GeV]": mll}, rng=seed)
        alarms += report.difference_seen
        assert "no difference seen" in report.verdict or report.difference_seen
    assert alarms == 0


@pytest.mark.slow
def test_at_most_5_of_100_halves_of_the_truth_are_called_different(zmumu):
    alarms = []
    for seed in range(100):
        some, _ = zmumu.split(6000 / len(zmumu), rng=seed)
        first, second = some.split(0.5, rng=seed)
        report = compare(first, second, observables={"mll [GeV]": mll}, rng=seed)
        if report.difference_seen:
            alarms.append((seed, report.verdict))
    assert len(alarms) <= 5, alarms


def test_a_pass_says_what_is_excluded():
    report = quick(toy(12_000, 0), toy(12_000, 1))
    assert report.outcome == "pass"
    limit = re.fullmatch(
        r"PASS: no difference seen with 12,000 events; shifts of a single column above "
        r"(0\.\d\d) sigma are excluded at 95 %\.",
        report.verdict,
    )
    assert limit is not None
    assert 0.03 < float(limit[1]) < 0.1


def test_few_events_are_inconclusive_and_the_number_needed_is_told():
    report = quick(toy(200, 0), toy(200, 1))
    assert report.outcome == "inconclusive"
    assert "too few" in report.verdict
    assert not report.difference_seen
    assert quick(toy(200, 0), toy(200, 1), tolerance=3.0, max_auc=0.99).outcome == "pass"


# controls: what differs must be seen, and named


def test_a_shift_by_a_tenth_of_sigma_is_seen():
    moved = toy(10_000, 1, eta=lambda c: c["eta"] + np.float32(0.1))
    report = quick(toy(10_000, 0), moved, tolerance=0.04)
    assert report.outcome == "fail"
    assert report.verdict.startswith("FAIL: worst eta, as far off as a 0.")
    assert report.table[0].name == "eta"
    assert report.table[0].shift == pytest.approx(0.1, abs=0.03)
    assert 0.04 < report.table[0].shift_proven < report.table[0].shift_lower < 0.1
    assert report.table[0].worth.lower < 0.3**2 / 0.1**2 < report.table[0].worth.upper
    assert report.table[0].w1.value == pytest.approx(0.1, abs=0.04)
    assert report.table[1].p_value > 0.05


def test_a_lost_correlation_is_seen_although_the_columns_agree():
    def correlated(c):
        z = np.random.default_rng(len(c["eta"])).normal(size=len(c["eta"]))
        return (0.3 * c["eta"] + np.sqrt(1 - 0.3**2) * z).astype(np.float32)

    def independent(c):
        return np.random.default_rng(7).normal(size=len(c["eta"])).astype(np.float32)

    report = quick(toy(6000, 0, eta2=correlated), toy(6000, 1, eta2=independent))
    assert report.outcome == "fail"
    assert "correlation of" in report.verdict
    assert min(row.p_value for row in report.table) > 0.01
    assert {report.correlations.labels[k] for k in report.correlations.pair} == {"eta", "eta2"}


def test_a_dropped_mode_is_seen():
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.integers(0, 8, 3000) / 8
    x, y = (f(angle) + 0.05 * rng.normal(size=3000) for f in (np.cos, np.sin))
    full = pg.Events.from_dict({"x": x, "y": y})
    kept = (x < 0.9) | (np.abs(y) > 0.2)
    report = quick(full[:1500], full[1500:][kept[1500:]])
    assert report.outcome == "fail"


def test_what_only_all_columns_together_show_is_seen():
    rng = np.random.default_rng(0)
    x, y, z = np.sign(rng.normal(size=(3, 3000)))
    parity = pg.Events.from_dict({"x": x[:1500], "y": y[:1500], "z": (x * y)[:1500]})
    free = pg.Events.from_dict({"x": x[1500:], "y": y[1500:], "z": z[1500:]})
    report = quick(parity, free)
    assert report.joint["correlations Δz"].p_value > 0.01
    assert report.joint["MMD²"].p_value == pytest.approx(1 / 481)
    assert report.outcome == "fail"
    assert "classifier" in report.verdict


def test_a_difference_within_tolerance_passes():
    moved = toy(10_000, 1, eta=lambda c: c["eta"] + np.float32(0.1))
    report = quick(toy(10_000, 0), moved, tolerance=0.25)
    assert report.outcome == "pass with difference"
    assert "within the tolerance; worst eta" in report.verdict


def decided(p_column=0.5, p_mmd=0.5, shift=(0.02, 0.0, 0.05), upper=0.05, **parts):
    one = Estimate(0.0, 0.01, 0.01, p_column)
    value, proven, largest = shift
    row = Row(
        "x", "", one, one, one, value, proven, largest, proven, Worth(90.0, 9.0, 900.0), p_column
    )
    joint = {
        "MMD²": Estimate(0.001, 0.001, 0.001, p_mmd),
        "classifier AUC": Estimate(0.5, 0.01, 0.51, 0.5),
        "correlations Δz": Estimate(0.01, 0.01, 0.03, 0.5),
    }
    eye = np.eye(2)
    report = Report(
        worth=row.worth,
        p_value=min(1.0, 4 * min(p_column, p_mmd)),
        table=(row,),
        joint=joint,
        correlations=Correlations(("x", "y"), eye, eye, (0, 1), upper / 2, upper, 0.0, eye),
        n_events=(3000, 3000),
        n_effective=(3000.0, 3000.0),
        notes=(),
        settings={"alpha": 0.01, "tolerance": 0.1, "max_auc": 0.55},
        versions={},
        **parts,
    )
    return report.outcome, report.verdict


def test_what_only_mmd_sees_is_no_pass():
    outcome, sentence = decided(p_mmd=0.002)
    assert outcome == "fail"
    assert sentence == (
        "FAIL: all columns together differ (MMD p = 0.0020), by an amount that no single column, "
        "pair or classifier measures (p = 0.0080 with 3,000 events)."
    )
    assert decided(p_mmd=0.002, p_column=0.001)[0] == "pass with difference"
    assert decided()[0] == "pass"


def test_the_limit_of_the_least_certain_pair_counts():
    outcome, _ = decided(upper=0.2)
    assert outcome == "inconclusive"


def test_a_difference_about_as_large_as_the_tolerance_is_inconclusive():
    outcome, sentence = decided(p_column=0.001, shift=(0.09, 0.06, 0.12))
    assert outcome == "inconclusive"
    assert sentence == (
        "INCONCLUSIVE: a difference is seen (p = 0.0040 with 3,000 events; x, as far off as a "
        "0.09-sigma shift), but whether it is beyond the tolerance cannot be said; about 27,000 "
        "events would tell."
    )
    assert decided(p_column=0.001, shift=(0.2, 0.11, 0.3))[0] == "fail"
    # what is proven fails, seen or not by the test of all
    assert decided(p_column=0.5, shift=(0.2, 0.11, 0.3))[0] == "fail"


def test_a_slice_can_fail_what_passes_on_the_whole():
    part = Slice("beta 0.4", (100, 100), "x", 0.5, 0.3, 0.7, 0.2, 0.001)
    outcome, sentence = decided(slices=(part,))
    assert outcome == "fail"
    assert "x at beta 0.4, as far off as a 0.50-sigma shift" in sentence


def test_absurd_numbers_of_events_are_not_told():
    assert "about 17,000 events would do" in decided(shift=(0.0, 0.0, 0.2))[1]
    assert "more than a million events would do" in decided(shift=(0.0, 0.0, 8.0))[1]


def test_angles_have_no_seam():
    rng = np.random.default_rng(0)
    phi = np.pi + 0.3 * rng.normal(size=4000)
    wrapped = (phi[:2000] + np.pi) % (2 * np.pi) - np.pi
    other = phi[2000:] % (2 * np.pi)
    samples = [pg.Events.from_dict({"phi": v}, units={"phi": "rad"}) for v in (wrapped, other)]
    report = quick(*samples)
    assert not report.difference_seen
    assert report.table[0].w1.value < 0.05
    assert any("cosine and sine" in note for note in report.notes)


# weights


def test_weights_count():
    n = 2000
    plain = toy(n, 0)
    tilt = np.exp(0.3 * plain["eta"])
    weighted = plain.with_columns({"weight": tilt}, role="weight")
    shifted = toy(n, 3, eta=lambda c: c["eta"] + np.float32(0.3))
    assert quick(plain, shifted).difference_seen
    report = quick(weighted, shifted)
    assert not report.difference_seen
    assert report.n_effective[0] == pytest.approx(tilt.sum() ** 2 / (tilt**2).sum())
    assert report.is_weighted
    assert "effective numbers with weights" in str(report)
    assert "weight" not in [row.name for row in report.table]


def test_negative_weights_are_taken_and_told():
    signs = np.where(np.random.default_rng(0).random(1500) < 0.1, -1.0, 1.0)
    weighted = toy(1500, 0).with_columns({"w": signs}, role="weight")
    report = quick(weighted, toy(1500, 1))
    assert not report.difference_seen
    assert any("negative" in note for note in report.notes)
    moved = toy(1500, 1, eta=lambda c: c["eta"] + np.float32(0.3))
    assert quick(weighted, moved).table[0].name == "eta"


def test_weights_that_are_all_zero_are_refused():
    events = toy(50, 0)
    empty = events.with_columns({"w": np.zeros(50)}, role="weight")
    with pytest.raises(ValueError, match="candidate: the event weights are all zero"):
        quick(events, empty)


def broad(n, seed, n_heavy):
    """Events of which few carry nearly all the weight: about n_heavy effective ones."""
    weights = np.where(np.arange(n) < n_heavy, 1000.0, 0.1)
    return toy(n, seed).with_columns({"w": weights}, role="weight")


def test_few_effective_events_are_told_or_refused():
    report = quick(broad(500, 0, 60), toy(500, 1))
    note = "the reference has 60 effective events: p-values are approximate with broad weights"
    assert note in report.notes
    assert not any("effective events" in n for n in quick(toy(60, 0), toy(60, 1)).notes)
    with pytest.raises(
        ValueError, match=r"candidate has 500 events, but .* count as 8\.\d; .* 20"
    ):
        quick(toy(500, 0), broad(500, 1, 8))


def test_the_notes_tell_the_events_that_mmd_uses():
    weighted = quick(broad(1000, 0, 900), toy(1000, 1))
    for report, used in ((quick(toy(1000, 0), toy(1000, 1)), 800), (weighted, 400)):
        assert report.joint["MMD²"].note.startswith(f"{used} events per side")
        assert any(n.startswith(f"MMD uses {used} events per side") for n in report.notes)
    unequal = quick(toy(100, 0), toy(300, 1)).notes
    assert "MMD uses 100 events per side, drawn at random where there are more" in unequal


# bad input


def test_too_few_events():
    with pytest.raises(ValueError, match=r"the candidate has 0 events; .* at least 20"):
        quick(toy(100, 0), toy(100, 1)[:0])
    with pytest.raises(ValueError, match="the reference has 19 events"):
        quick(toy(19, 0), toy(100, 1))


def test_nothing_in_common_names_what_is_near():
    a = pg.Events.from_dict({"incident_energy": np.ones(30)})
    b = pg.Events.from_dict({"incident_energies": np.ones(30)})
    with pytest.raises(pg.SchemaError, match=r"in common.*did you mean 'incident_energy'"):
        quick(a, b)


def test_a_field_that_one_sample_lacks_is_left_out_and_told():
    report = quick(toy(100, 0, met=lambda c: c["pt"]), toy(100, 1))
    assert "met" not in [row.name for row in report.table]
    assert "only in the reference, left out: met" in report.notes
    with pytest.raises(
        pg.SchemaError, match="no field 'mett' in the reference; did you mean 'met'"
    ):
        quick(toy(100, 0, met=lambda c: c["pt"]), toy(100, 1), fields=["mett"])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(bad):
    values = np.zeros(30)
    values[[4, 17]] = bad
    broken = pg.Events.from_dict({"x": values})
    with pytest.raises(ValueError, match=r"'x' of the candidate is NaN .* 2 of 30 .*rows 4, 17"):
        quick(pg.Events.from_dict({"x": np.ones(30)}), broken)


def test_units_must_agree():
    a = pg.Events.from_dict({"e": np.ones(30)}, units={"e": "GeV"})
    b = pg.Events.from_dict({"e": np.ones(30)}, units={"e": "MeV"})
    with pytest.raises(
        pg.SchemaError, match="in GeV in the reference and in MeV in the candidate"
    ):
        quick(a, b)
    assert quick(a, pg.Events.from_dict({"e": np.ones(30)})).table[0].label == "e [GeV]"


def test_shapes_must_agree():
    a = pg.Events.from_dict({"e": np.ones((30, 2))})
    b = pg.Events.from_dict({"e": np.ones((30, 3))})
    with pytest.raises(pg.SchemaError, match=r"of shape \(2,\) in the reference"):
        quick(a, b)


def test_a_constant_column_is_no_difference():
    events = toy(100, 0, run=lambda c: np.ones(len(c["eta"])))
    report = quick(events, toy(100, 1, run=lambda c: np.ones(len(c["eta"]))))
    row = next(row for row in report.table if row.name == "run")
    assert (row.js.value, row.w1.value, row.ks.value, row.p_value) == (0, 0, 0, 1)
    only = quick(*(pg.Events.from_dict({"run": np.ones(30)}) for _ in range(2)))
    assert only.joint == {}
    assert "No joint test" in str(only)


def test_constants_that_differ_are_as_far_as_can_be():
    report = quick(*(pg.Events.from_dict({"x": np.full(50, v)}) for v in (1.0, 2.0)))
    assert report.table[0].js.value == pytest.approx(1)
    assert report.outcome == "fail"
    assert "many sigma" in report.verdict


def test_the_same_events_on_both_sides_are_a_leak():
    events = toy(300, 0)
    report = quick(events, events)
    assert report.outcome == "fail"
    assert report.verdict.startswith(
        "FAIL: 300 of 300 candidate events equal a reference event in every field: a leak"
    )
    some = pg.concatenate((events[:5], toy(295, 1)))
    assert quick(events, some).n_leaked == 5
    assert quick(events, toy(300, 1)).n_leaked == 0


def test_copies_of_training_events_fail():
    train, test, fresh = toy(2000, 0), toy(1000, 1), toy(1000, 2)
    copied = pg.concatenate((fresh[:980], train[:20]))
    report = quick(test, copied, train=train)
    assert report.outcome == "fail"
    assert "20 candidate events equal a training event" in report.verdict
    clean = quick(test, fresh, train=train)
    assert clean.memorization.p_value > 0.01
    assert clean.outcome != "fail"
    assert quick(test, copied).memorization is None
    with pytest.raises(pg.SchemaError, match="training events have no field of the samples"):
        quick(test, fresh, train=pg.Events.from_dict({"other": np.ones(30)}))


def test_too_few_permutations_for_the_level():
    with pytest.raises(ValueError, match=r"of 4 families of tests .* n_permutations=401 or more"):
        quick(toy(50, 0), toy(50, 1), n_permutations=99)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tolerance": 0}, "a shift in sigma above 0, got 0"),
        ({"tolerance": float("nan")}, "a shift in sigma above 0, got nan"),
        ({"for_events": 0.5}, "the number of events you want, got 0.5"),
        ({"max_auc": 0.5}, "max_auc lies between 0.5 and 1, got 0.5"),
        ({"alpha": 1}, "alpha is a probability between 0 and 1, got 1"),
        ({"max_events": 3}, "max_events is at least 100, got 3"),
    ],
)
def test_settings_that_make_no_sense(settings, words):
    with pytest.raises(ValueError, match=words):
        quick(toy(50, 0), toy(50, 1), **settings)


def test_samples_of_weights_alone_cannot_be_compared():
    schema = pg.Schema((pg.Field("w", "float64", role="weight"),))
    weights = pg.Events(schema, {"w": np.ones(30)})
    for pair in ((weights, weights), (toy(50, 0), weights)):
        with pytest.raises(pg.SchemaError, match="share no field but their weight"):
            quick(*pair)
    with pytest.raises(pg.SchemaError, match="share no field but their weight"):
        quick(weights, weights, fields=["w"])


def test_rng_is_a_seed_or_a_generator():
    a, b = toy(200, 0), toy(200, 1)
    assert str(quick(a, b, rng=3)) == str(quick(a, b, rng=3))
    assert str(quick(a, b, rng=3)) != str(quick(a, b, rng=4))
    quick(a, b, rng=torch.Generator().manual_seed(1))
    with pytest.raises(TypeError, match="rng must be"):
        quick(a, b, rng=None)


# other kinds of columns


def test_jagged_fields_enter_by_number_sum_and_leading_entry():
    def jets(seed, mean):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(mean, 500)
        pt = ak.unflatten(rng.exponential(20, counts.sum()), counts)
        return pg.Events.from_dict({"Jet_pt": pt, "Jet_eta": pt * 0 + 1}, units={"Jet_pt": "GeV"})

    same = quick(jets(0, 2.0), jets(1, 2.0))
    assert not same.difference_seen
    names = {row.label for row in same.table}
    assert {"number of Jet", "Jet_pt sum [GeV]", "Jet_pt leading [GeV]"} <= names
    assert "Jet_pt, Jet_eta: compared by sum and leading entry only" in same.notes
    assert quick(jets(0, 2.0), jets(1, 3.0)).outcome == "fail"


@pytest.mark.usefixtures("quick_images")
def test_spins_enter_by_magnetization_and_energy():
    def spins(seed, p):
        s = np.where(np.random.default_rng(seed).random((400, 6, 6)) < p, 1, -1).astype(np.int8)
        events = pg.Events.from_dict({"spins": s})
        return events.replace_schema(events.schema.with_field("spins", allowed=(-1, 1)))

    report = quick(spins(0, 0.5), spins(1, 0.5))
    assert {row.name for row in report.table} == {
        "magnetization of spins", "|magnetization| of spins", "energy per spin of spins",
        "correlation of spins at distance 2", "largest cluster of spins",
    }  # fmt: skip
    assert any(note.startswith("ising: spins has the values -1 and +1") for note in report.notes)
    assert not report.difference_seen
    assert quick(spins(0, 0.5), spins(1, 0.6)).difference_seen


@pytest.mark.usefixtures("quick_images")
@pytest.mark.parametrize("shape", [(6, 6), (2, 2)])
def test_spins_of_one_sign_only_are_seen(shape):
    rng = np.random.default_rng(0)
    ordered = np.where(rng.random((800, *shape)) < 0.95, 1, -1)
    signs = np.sign(rng.normal(size=(400, 1, 1)))
    samples = []
    for values in (ordered[:400] * signs, ordered[400:]):
        events = pg.Events.from_dict({"s": values.astype(np.int8)})
        samples.append(events.replace_schema(events.schema.with_field("s", allowed=(-1, 1))))
    report = quick(*samples)
    assert report.outcome == "fail"
    assert "magnetization of s" in [row.name for row in report.table if row.p_value < 0.01]
    assert ("s[0,0]" in [row.name for row in report.table]) == (shape == (2, 2))


@pytest.mark.usefixtures("quick_images")
@pytest.mark.parametrize("axis", [1, 2])
def test_mirrored_cells_are_seen(axis):
    rng = np.random.default_rng(0)
    falling = np.exp(-np.arange(4)[:, None] - 0.5 * np.arange(5))
    cells = rng.exponential(size=(800, 4, 5)) * falling
    samples = (cells[:400], np.flip(cells[400:], axis))
    report = quick(*(pg.Events.from_dict({"cells": v}) for v in samples))
    assert report.outcome == "fail"
    assert report.table[0].name == f"cells mean index along axis {axis - 1}"


def test_voxels_enter_by_sum_and_sparsity_and_short_vectors_one_by_one():
    rng = np.random.default_rng(0)
    cells = np.maximum(rng.normal(size=(50, 4, 5)), 0)
    events = pg.Events.from_dict({"cells": cells, "p": rng.normal(size=(50, 3))})
    quantities, notes = summarize(events, events)
    found = {q.name: q.reference for q in quantities}
    means = ["cells mean index along axis 0", "cells mean index along axis 1"]
    own = ["p[0]", "p[1]", "p[2]"]
    assert list(found) == ["cells sum", "cells fraction not 0", *means, *own]
    assert notes == ["cells: compared by sum, fraction not 0 and mean index along each axis only"]
    by_hand = (cells * np.arange(4)[:, None]).sum(axis=(1, 2)) / cells.sum(axis=(1, 2))
    assert found[means[0]] == pytest.approx(by_hand)
    signed = pg.Events.from_dict({"cells": cells - 1})
    assert [q.name for q in summarize(signed, signed)[0]] == ["cells sum", "cells fraction not 0"]
    assert summarize(signed, signed)[1] == ["cells: compared by sum and fraction not 0 only"]
    assert found["cells sum"] == pytest.approx(cells.sum(axis=(1, 2)))
    assert found["cells fraction not 0"] == pytest.approx((cells > 0).mean(axis=(1, 2)))


def test_observables_by_name_by_function_and_wrong_ones():
    a, b = toy(100, 0), toy(100, 1)

    def twice(events):
        return 2 * events["eta"]

    assert "twice" in [row.name for row in quick(a, b, observables=[twice]).table]
    labels = [row.label for row in quick(a, b, observables={"pz [GeV]": twice}).table]
    assert "pz [GeV]" in labels
    with pytest.raises(ValueError, match=r"'wrong' must return one number per event.*\(1,\)"):
        quick(a, b, observables={"wrong": lambda e: e["eta"][:1]})
    with pytest.raises(ValueError, match="has the name of a field"):
        quick(a, b, observables={"eta": twice})


# numbers that carry their floor


def test_estimates_print_with_error_floor_and_p():
    assert str(Estimate(0.0131, 0.0018, 0.0042, 0.312)) == "0.013 ± 0.002 (floor 0.004, p = 0.31)"
    assert str(Estimate(0.5, 0.0, 0.0, 1e-6)) == "0.5 ± 0.0 (floor 0.0, p < 0.0001)"


def test_the_floor_is_what_halves_of_the_truth_score():
    report = quick(toy(2000, 0), toy(2000, 1))
    pt = next(row for row in report.table if row.name == "pt")
    assert pt.ks.floor == pytest.approx(1.36 * np.sqrt(2 / 2000), rel=0.15)  # KS 95 % point
    assert report.joint["classifier AUC"].floor == pytest.approx(0.515, abs=0.02)


def test_report_is_plain_json():
    report = quick(toy(100, 0), toy(100, 1), observables={"x": lambda e: e["eta"]})
    again = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert again == report.to_dict()
    assert again["table"][0]["js_bits"]["floor"] == report.table[0].js.floor


def test_the_verdict_never_says_identical():
    report = quick(toy(100, 0), toy(50, 1), tolerance=9.0, max_auc=1.0)
    assert "identical" not in str(report)
    assert report.outcome == "pass"
    assert "100 against 50 events" in report.verdict


# coincidences, precision, thin slices: what looked like a difference and is none


def test_rounded_events_that_coincide_by_chance_are_no_leak():
    rng = np.random.default_rng(0)
    a, b = (
        pg.Events.from_dict({"x": np.round(rng.normal(size=800), 2),
                             "y": np.round(rng.normal(size=800), 2)})
        for _ in range(2)
    )  # fmt: skip
    assert quick(a, b).n_leaked == 0
    mixed = pg.concatenate((a[:60], b[60:]))
    assert quick(a, mixed).n_leaked >= 60


def test_the_same_file_of_few_values_is_a_leak_too():
    rng = np.random.default_rng(0)
    events = pg.Events.from_dict({"njet": rng.integers(0, 5, 600), "nb": rng.integers(0, 3, 600)})
    assert quick(events, events).outcome == "fail"
    assert quick(events[:300], events[300:]).n_leaked == 0


def test_precision_is_no_difference():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 10, (2, 1000)) / 10
    report = quick(pg.Events.from_dict({"x": x}), pg.Events.from_dict({"x": y.astype(np.float32)}))
    assert not report.difference_seen


def test_a_condition_with_hardly_any_candidate_events_is_told():
    rng = np.random.default_rng(0)
    samples = [
        pg.Events.from_dict({"x": rng.normal(size=600), "c": np.repeat([0.0, 1.0], n)})
        for n in ((300, 300), (597, 3))
    ]
    given = [e.replace_schema(e.schema.with_roles(conditions=["c"])) for e in samples]
    report = quick(*given)
    assert "hardly any events in 1 of 2 slices of c" in " ".join(report.notes)
    assert next(row for row in report.table if row.name == "x").p_value > 0.01


def test_many_thin_slices_prove_nothing_of_equal_laws():
    c = np.repeat(np.arange(10.0), 25)
    outcomes = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        columns = {f"x{k}": rng.normal(size=(2, 250)) for k in range(5)}
        given = [
            pg.Events.from_dict({"c": c, **{k: v[side] for k, v in columns.items()}})
            for side in range(2)
        ]
        given = [e.replace_schema(e.schema.with_roles(conditions=["c"])) for e in given]
        outcomes.append(quick(*given).outcome)
    assert "fail" not in outcomes


def conditional(seed, *, shared, mean=1.0):
    """Numbers of jets given a continuous energy."""
    rng = np.random.default_rng(seed)
    energy = np.random.default_rng(9).uniform(size=800) if shared else rng.uniform(size=800)
    events = pg.Events.from_dict({"njet": rng.poisson(mean + 2 * energy), "energy": energy})
    return events.replace_schema(events.schema.with_roles(conditions=["energy"]))


def test_events_at_the_same_conditions_are_no_copies_of_each_other():
    """Equal conditions and an equal number of jets: chance, not a leak."""
    truth, made, train = (conditional(seed, shared=True) for seed in (1, 2, 3))
    report = quick(truth, made, train=train)
    assert report.n_leaked == 0
    assert report.memorization.p_value > 0.01
    assert report.outcome != "fail"
    # the control: the same events are told, and a wrong number of jets is seen
    assert quick(truth, truth).n_leaked == 800
    assert quick(truth, conditional(2, shared=True, mean=2.0)).outcome == "fail"


def test_slices_of_negative_content_do_not_stop_a_comparison():
    weights = np.where(np.arange(600) % 3 == 0, -3.0, 1.0)
    given = []
    for seed in range(2):
        rng = np.random.default_rng(seed)
        c = np.repeat([0.0, 1.0], 300)
        w = np.where(c == 0, weights, 5.0)
        events = pg.Events.from_dict({"x": rng.normal(size=600), "c": c})
        events = events.with_columns({"w": w}, role="weight")
        given.append(events.replace_schema(events.schema.with_roles(conditions=["c"])))
    assert not quick(*given).difference_seen
