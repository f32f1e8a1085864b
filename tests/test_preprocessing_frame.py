"""Particles in the frame of their jet: there and back, and sums that hold in any case."""

import dataclasses
import json

import awkward as ak
import numpy as np
import pytest
import torch

import physgen as pg
from physgen.exporting.columns import decode_columns
from physgen.observables.jagged import padded
from physgen.observables.jets import jet_mass
from physgen.preprocessing import Preprocessor
from physgen.random import PhiloxRandom
from physgen.schema import Field, Schema
from physgen.transforms import ByCategory, Linear, Log, Quantile

N = 300
NAMES = ("part_eta_rel", "part_phi_rel", "part_pt_rel")


def clouds(counts, *, seed=0, angle=0.1, dtype="float64", falling=True):
    rng = np.random.default_rng(seed)
    pt = [rng.dirichlet(np.full(n, 0.7)) * rng.uniform(0.5, 1) + 1e-5 for n in counts]
    entries = (rng.normal(0.02, angle, sum(counts)) for _ in range(2))
    columns = {n: ak.unflatten(v, counts) for n, v in zip(NAMES, entries, strict=False)}
    columns["part_pt_rel"] = ak.Array([np.sort(p)[::-1] if falling else p for p in pt])
    columns = {n: ak.values_astype(v, dtype) for n, v in columns.items()}
    fields = [Field(n, dtype, jagged=True, collection="part") for n in NAMES]
    columns["mass"] = rng.exponential(size=len(counts))
    return pg.Events(Schema((*fields, Field("mass", "float64"))), columns)


def lengths(low, high, seed=1):
    return np.random.default_rng(seed).integers(low, high + 1, N)


def sums(columns):
    """Sum, axis and width of padded rows, written down once more."""
    eta, phi, pt = (padded(columns[n]).astype(np.float64) for n in NAMES)
    with np.errstate(invalid="ignore"):
        share = pt / pt.sum(1, keepdims=True)
        axis = (share * eta).sum(1), (share * phi).sum(1)
        square = (eta - axis[0][:, None]) ** 2 + (phi - axis[1][:, None]) ** 2
        return pt.sum(1), *axis, np.sqrt((share * square).sum(1))


def tensors(fitted, events):
    return fitted.forward(events, rng=PhiloxRandom(1, torch.arange(len(events))))[0]


def largest_difference(events, columns):
    return max(
        float(np.abs(padded(events[n]).astype(float) - padded(columns[n])).max()) for n in NAMES
    )


@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("counts", [lengths(0, 9), lengths(0, 2), lengths(3, 3), lengths(0, 1)])
def test_there_and_back(counts, falling):
    """Clouds of 0 and of 1 entry included."""
    events = clouds(counts, falling=falling)
    fitted = Preprocessor.fit(events)
    assert fitted.clouds["part"].frame.ordered == (falling and counts.max() > 1)
    x = tensors(fitted, events)
    assert torch.isfinite(x).all()
    back = fitted.inverse(x, {})
    assert np.array_equal(ak.num(back[NAMES[0]]), counts)
    assert largest_difference(events, back) < 3e-6
    # negative control: another event's sums
    n_first = fitted.spec.stages[0].n_features
    mixed = torch.cat((x[:, :n_first].roll(1, 0), x[:, n_first:]), dim=1)
    if counts.min() == counts.max():
        assert largest_difference(events, fitted.inverse(mixed, {})) > 1e-2


def test_the_sums_are_those_of_the_first_stage_whatever_the_cloud_is():
    events = clouds(lengths(2, 9))
    fitted = Preprocessor.fit(events)
    x = tensors(fitted, events)
    n_first = fitted.spec.stages[0].n_features
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    other = torch.where(torch.arange(x.shape[1]) < n_first, x, 0.3 * x + 0.5 * noise)
    frame = fitted.clouds["part"].frame
    wide = dataclasses.replace(frame, ranges=((-9, 9), (-9, 9), (0, 9)))
    fitted.clouds["part"] = dataclasses.replace(fitted.clouds["part"], frame=wide)
    made = fitted.inverse(other, {})
    for new, old in zip(sums(made), sums(events), strict=True):
        np.testing.assert_allclose(new, old, atol=2e-6)
    assert largest_difference(events, made) > 0.05
    assert ak.all(made["part_pt_rel"][:, 1:] <= made["part_pt_rel"][:, :-1])


def test_the_hardest_particle_has_the_share_it_was_given():
    events = clouds(lengths(3, 9))
    fitted = Preprocessor.fit(events)
    x = tensors(fitted, events)
    kept = torch.arange(x.shape[1]) < fitted.spec.stages[0].n_features
    noise = 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    made = fitted.inverse(torch.where(kept, x, x + noise), {})
    old, new = (padded(columns["part_pt_rel"])[:, 0] for columns in (events, made))
    # with less than one nth of the sum it would not be the hardest
    reachable = old / sums(events)[0] > 1.001 / events.multiplicity(NAMES[0])
    assert reachable.mean() > 0.99
    np.testing.assert_allclose(new[reachable], old[reachable], rtol=1e-5)
    others = [padded(columns["part_pt_rel"])[:, 1] for columns in (events, made)]
    assert np.abs(others[1] / others[0] - 1).mean() > 0.05  # negative control


def test_width_times_sum_is_the_mass():
    events = clouds(lengths(5, 20))
    columns = Preprocessor.fit(events).clouds["part"].frame.measure(events)
    total, width = columns["sum(part_pt_rel)"], columns["width(part)"]
    rows = [padded(events[n]) for n in NAMES]
    assert np.abs(total * width / jet_mass(*rows) - 1).max() < 0.02
    assert np.abs(width / jet_mass(*rows) - 1).max() > 0.2  # negative control


def test_what_is_made_lies_in_the_range_of_the_training():
    events = clouds(lengths(0, 9), dtype="float32")
    fitted = Preprocessor.fit(events)
    x = 5 * torch.randn(N, fitted.spec.n_features, generator=torch.Generator().manual_seed(2))
    made = fitted.inverse(x, {})
    for name in NAMES:
        assert ak.min(made[name]) >= ak.min(events[name])
        assert ak.max(made[name]) <= ak.max(events[name])
    assert set(made) == set(events.schema.names)


def test_only_particles_of_jets_have_a_frame():
    events = clouds(lengths(0, 9))
    assert Preprocessor.fit(events).clouds["part"].frame
    muons = {n.replace("_rel", ""): events[n] for n in NAMES}
    assert Preprocessor.fit(pg.Events.from_dict(muons)).clouds["part"].frame is None
    zero = events.with_columns({"part_pt_rel": events["part_pt_rel"] * 0})
    assert Preprocessor.fit(zero).clouds["part"].frame is None
    empty = clouds(np.zeros(N, dtype=int))
    assert Preprocessor.fit(empty).clouds["part"].frame is None


def test_a_chosen_transform_is_for_the_values_of_the_file():
    fitted = Preprocessor.fit(clouds(lengths(0, 9)), {"part_pt_rel": Log()})
    cloud = fitted.clouds["part"]
    assert cloud.frame is None
    assert isinstance(cloud.transforms[2], Log)
    assert not any("part_pt_rel" in name for name in fitted.transforms)


def test_other_fields_keep_their_transforms():
    events = clouds(lengths(1, 9))
    charge = ak.where(events["part_eta_rel"] > 0, 1.5, -0.3) * events["part_pt_rel"]
    schema = Schema((*events.schema, Field("part_d0", "float64", jagged=True, collection="part")))
    fitted = Preprocessor.fit(pg.Events(schema, events.to_dict() | {"part_d0": charge}))
    cloud = fitted.clouds["part"]
    assert [type(t) for t in cloud.transforms[:3]] == [ByCategory] * 3
    assert isinstance(cloud.transforms[3], Linear | Log | Quantile)


def test_stored_frames_are_the_same():
    fitted = Preprocessor.fit(clouds(lengths(0, 9)))
    again = Preprocessor.from_dict(json.loads(json.dumps(fitted.to_dict())), fitted.schema)
    assert again.clouds == fitted.clouds
    x = torch.randn(20, fitted.spec.n_features)
    first, second = (p.inverse(x, {}) for p in (fitted, again))
    assert all(ak.array_equal(first[n], second[n]) for n in NAMES)


def test_a_batch_of_shorter_clouds_than_in_training():
    events = clouds(lengths(0, 9))
    fitted = Preprocessor.fit(events)
    counts = events.multiplicity(NAMES[0])
    short = events[counts < 4]
    assert largest_difference(short, fitted.inverse(tensors(fitted, short), {})) < 3e-6


@pytest.mark.parametrize("falling", [True, False])
def test_exported_decoders_do_the_same(falling):
    events = clouds(lengths(0, 9), falling=falling)
    fitted = Preprocessor.fit(events)
    x = tensors(fitted, events) + 0.2 * torch.randn(N, 1, generator=torch.Generator())
    expected, found = fitted.inverse(x, {}), decode_columns(fitted, x, {})
    assert set(found) == {*events.schema.names, "n(part)"}
    for name in NAMES:
        rows = np.pad(padded(expected[name]), ((0, 0), (0, 9)))[:, :9]
        np.testing.assert_allclose(found[name].numpy(), rows, atol=1e-12)
