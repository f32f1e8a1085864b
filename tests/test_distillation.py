"""Students: where they start, where they arrive, and what they refuse."""

import itertools

import numpy as np
import pytest
import torch

import physgen as pg
from physgen.distillation import _grid, distill
from physgen.models.diffusion import EDM, VP
from physgen.random import PhiloxRandom
from physgen.tensor_spec import TensorSpec


def pairs(n, seed):
    """Two modes in x, y around x squared, c a condition that shifts both."""
    rng = np.random.default_rng(seed)
    c = np.append(rng.uniform(-1, 1, n - 2), (-1, 1))
    x = np.where(rng.random(n) < 0.5, -1.0, 1.0) + 0.2 * rng.normal(size=n) + c
    events = pg.Events.from_dict({"x": x, "y": x**2 + 0.3 * rng.normal(size=n), "c": c})
    return events.replace_schema(events.schema.with_roles(conditions=["c"]))


@pytest.fixture(scope="module")
def teacher():
    settings = pg.Diffusion(n_hidden=48, n_blocks=2, n_sampling_steps=12)
    return pg.Surrogate.fit(pairs(6000, 0), settings, steps=1000, rng=1)


def test_the_grid_has_levels_of_the_teacher():
    levels = EDM().levels(24)
    assert _grid(levels, 1) == (pytest.approx(40.0),)
    four = _grid(levels, 4)
    assert len(four) == 4
    assert four[0] == pytest.approx(40.0)
    assert all(a > b for a, b in itertools.pairwise(four))
    assert all(any(abs(a - b) < 1e-9 for b in levels.tolist()) for a in four)
    assert 0.3 < four[2] / 1.0 < 2.0
    assert len(set(_grid(VP().levels(6), 6))) == 6
    with pytest.raises(ValueError, match="6 noise levels"):
        _grid(VP().levels(6), 7)


def test_settings_of_a_student(teacher):
    student = distill(teacher, 2, conditions={"c": 0.0}, n_events=400, steps=1, rng=2)
    assert student.settings.sampler == "euler"
    assert len(student.settings.path.sigmas) == 2
    assert student.info["teacher"] == {"n_events": 400, "n_steps": 12}
    with pytest.raises(ValueError, match="makes events in 2 steps"):
        student(5, {"c": 0.0}, rng=1, n_steps=3)


def test_a_student_arrives_where_its_teacher_does(teacher):
    conditions = pairs(3000, 5)
    student = distill(teacher, 2, conditions=conditions, n_events=4000, steps=1000, rng=2)
    given = {"c": pairs(2000, 7)["c"]}
    slow, fast = teacher(2000, given, rng=3), student(2000, given, rng=3)
    naive = teacher(2000, given, rng=3, n_steps=2, sampler="euler")

    def distance(made):
        # from the same noise, event by event
        return np.mean([np.abs(made[n] - slow[n]).mean() / slow[n].std() for n in ("x", "y")])

    assert distance(fast) < 0.35 * distance(naive)
    between = np.mean(np.abs(fast["x"] - given["c"]) < 0.5)
    assert between < 0.06
    # the control: as many steps of the teacher leave the two modes joined
    assert np.mean(np.abs(naive["x"] - given["c"]) < 0.5) > 0.1


def test_a_student_is_saved_and_loaded(teacher, tmp_path):
    student = distill(teacher, 1, conditions={"c": 0.2}, n_events=300, steps=5, rng=2)
    student.save(tmp_path / "student")
    again = pg.Surrogate.load(tmp_path / "student")
    assert again.settings == student.settings
    a, b = (s(20, {"c": 0.1}, rng=4) for s in (student, again))
    assert np.array_equal(a["x"], b["x"])


def test_a_smaller_student(teacher):
    small = pg.Diffusion(n_hidden=8, n_blocks=1)
    student = distill(
        teacher, 1, conditions={"c": 0.2}, n_events=300, student=small, steps=5, rng=2
    )
    n = sum(p.numel() for p in student.model.parameters())
    assert n < 0.5 * sum(p.numel() for p in teacher.model.parameters())


def test_clouds_and_stages_are_distilled():
    """Two stages, the second a set: the padding stays empty."""
    rng = np.random.default_rng(0)
    import awkward as ak

    counts = rng.integers(1, 4, 400)
    values = ak.unflatten(rng.normal(size=counts.sum()), counts)
    events = pg.Events.from_dict({"met": rng.normal(size=400), "jet_x": values})
    settings = pg.Diffusion(n_hidden=16, n_blocks=1, n_sampling_steps=4)
    teacher = pg.Surrogate.fit(events, settings, steps=20, rng=1)
    student = distill(teacher, 2, n_events=300, steps=10, rng=2)
    made = student(50, rng=3)
    assert set(ak.num(made["jet_x"]).to_list()) <= {1, 2, 3}
    assert set(student.history.losses) == {"1: student", "2: student"}


def test_refusals(teacher):
    gan = pg.Surrogate.fit(pairs(200, 0), pg.GAN(n_hidden=8), steps=2, rng=1)
    with pytest.raises(TypeError, match="is no diffusion model: a GAN or VAE"):
        distill(gan, 1, conditions={"c": 0.0}, steps=2, rng=1)
    with pytest.raises(pg.ConditionError, match="needs the condition"):
        distill(teacher, 1, steps=2, rng=1)
    with pytest.raises(ValueError, match="n_steps must be at least 1"):
        distill(teacher, 0, conditions={"c": 0.0}, steps=2, rng=1)
    with pytest.raises(pg.ConditionError, match="outside the trained"):
        distill(teacher, 1, conditions={"c": 7.0}, steps=2, rng=1)


def test_a_step_turns_both_of_its_ends_together():
    """A periodic array: a network that copies its input has no loss after any turn."""
    from physgen.distillation import _step_loss

    spec = TensorSpec(n_features=8, shape=(2, 4), periodic=(False, True))
    settings = pg.Diffusion(n_hidden=8, n_blocks=1)
    model = settings.build(spec)
    model.sigma_data.fill_(1.0)
    sigma, clean = 1.5, torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    noisy = clean * (sigma**2 + 1)  # the untrained denoiser is c_skip y = y / (sigma^2 + 1)
    path = torch.stack((noisy, clean), dim=1)
    rng = PhiloxRandom(0, torch.arange(64))
    loss = _step_loss(model, path, torch.zeros(64, 0), (sigma, 0.0), rng)
    assert loss.max() < 1e-6
    # the control: one end turned alone
    path[:, 1] = clean.view(-1, 2, 4).roll(1, 2).flatten(1)
    assert _step_loss(model, path, torch.zeros(64, 0), (sigma, 0.0), rng).mean() > 0.1
