import numpy as np
import pytest

import physgen as pg
from physgen.schema import SchemaError
from physgen.summaries import joint_columns, summarize

KINEMATICS = ("mu1_pt", "mu1_eta", "mu1_phi", "mu2_pt", "mu2_eta", "mu2_phi")


def muons(seed=0, n=50):
    rng = np.random.default_rng(seed)
    columns = {name: rng.uniform(0.1, 3, n) for name in KINEMATICS}
    return pg.Events.from_dict(columns, units={"mu1_pt": "GeV", "mu2_pt": "GeV"})


def spins(seed=0):
    s = np.random.default_rng(seed).choice(np.array([-1, 1], dtype=np.int8), (30, 4, 4))
    events = pg.Events.from_dict({"s": s})
    return events.replace_schema(events.schema.with_field("s", allowed=(-1, 1)))


def names(*samples, **arguments):
    return [q.name for q in summarize(*samples, **arguments)[0]]


def mass(events):
    return pg.observables.invariant_mass(*(events[name] for name in KINEMATICS))


PAIR = [f"{what}(mu1 mu2)" for what in ("m", "pt", "y", "delta phi", "delta eta", "|cos theta*|")]


def test_packs_are_chosen_by_the_fields_and_told():
    a, b = muons(0), muons(1)
    quantities, notes = summarize(a, b)
    assert [q.name for q in quantities] == [*KINEMATICS, *PAIR]
    found = {q.name: q for q in quantities}
    assert found["m(mu1 mu2)"].label == "m(mu1 mu2) [GeV]"
    assert found["m(mu1 mu2)"].candidate.tolist() == mass(b).tolist()
    assert found["delta phi(mu1 mu2)"].is_angle
    assert [note.split(":")[0] for note in notes] == ["pairs"]


def test_false_leaves_packs_out_and_names_choose_them():
    a, b = muons(0), muons(1)
    assert names(a, b, observables=False) == list(KINEMATICS)
    assert names(a, b, observables="pairs") == [*KINEMATICS, *PAIR]
    with pytest.raises(ValueError, match="'ising' fit no field"):
        summarize(a, b, observables="ising")
    assert names(spins(), spins(), observables=False) == ["s sum", "s fraction not 0"]
    assert "s sum" not in names(spins(), spins())


def test_functions_come_on_top_and_replace_what_is_the_same():
    a, b = muons(0), muons(1)
    with_mass = names(a, b, observables={"dimuon mass [GeV]": mass})
    assert with_mass == [*KINEMATICS, *PAIR[1:], "dimuon mass"]

    def total(events):
        return events["mu1_pt"] + events["mu2_pt"]

    assert names(a, b, observables=[total]) == [*KINEMATICS, *PAIR, "total"]
    assert names(a, b, observables=["pairs", total]) == [*KINEMATICS, *PAIR, "total"]
    own = names(a, b, observables={"m(mu1 mu2) [GeV]": total})
    assert own == [*KINEMATICS, *PAIR[1:], "m(mu1 mu2)"]


def test_fields_that_are_left_out_make_no_pack():
    a, b = muons(0), muons(1)
    assert names(a, b, fields=["mu1_pt", "mu2_pt"]) == ["mu1_pt", "mu2_pt"]


def test_a_column_that_the_file_has_is_not_made_again():
    a, b = (e.with_columns({"mll": mass(e)}, unit="GeV") for e in (muons(0), muons(1)))
    assert names(a, b) == [*KINEMATICS, "mll", *PAIR[1:]]
    wrong = b.with_columns({"mll": 2 * b["mll"]})  # a surrogate whose columns do not fit together
    assert names(a, wrong) == [*KINEMATICS, "mll", *PAIR]


def test_small_angles_are_numbers():
    rng = np.random.default_rng(0)
    columns = {"near": rng.uniform(-0.5, 0.5, 40), "around": rng.uniform(-3, 3, 40)}
    events = pg.Events.from_dict(columns, units=dict.fromkeys(columns, "rad"))
    quantities, _ = summarize(events, events)
    assert {q.name: q.is_angle for q in quantities} == {"near": False, "around": True}


def test_other_binnings_are_refused():
    a, b = (
        pg.Events.from_dict({"x": np.arange(5.0)}, conventions={"binning": f"<Bins>{k}</Bins>"})
        for k in (1, 2)
    )
    with pytest.raises(SchemaError, match="another binning"):
        summarize(a, b)


def test_absurd_values_leave_joint_columns_finite():
    random = np.random.default_rng(0)
    truth = pg.Events.from_dict({"x": random.normal(size=400), "y": random.normal(size=400)})
    y = random.normal(size=400)
    y[:3] = 1e100, -1e100, 1e30
    fake = pg.Events.from_dict({"x": random.normal(size=400), "y": y})
    _, _, scaled = joint_columns(summarize(truth, fake)[0])
    assert np.abs(scaled).max() == 1e6
    assert np.abs(scaled[3:]).max() < 10


def test_a_column_that_is_constant_but_for_rounding_is_measured_by_all_of_its_values():
    random = np.random.default_rng(0)
    x = np.ones((2, 1000)) + 1e-12 * random.normal(size=(2, 1000))
    x[:, :100] = random.uniform(-1, 1, (2, 100))
    samples = [pg.Events.from_dict({"x": part}) for part in x]
    _, scaled, _ = joint_columns(summarize(*samples)[0])
    assert np.abs(scaled).max() < 10
