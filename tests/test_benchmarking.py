"""Families on one file: the table, the advice, what is left out, and the files."""

import dataclasses
import json

import numpy as np
import pytest

import physgen as pg
from physgen import benchmarking
from physgen.benchmarking import benchmark, milliseconds
from physgen.cli import main


def events(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    c = rng.uniform(0, 1, n)
    x = 3 * c + rng.normal(size=n)
    made = pg.Events.from_dict({"x": x, "y": x**2 + rng.normal(size=n), "c": c})
    return made.replace_schema(made.schema.with_roles(conditions=["c"]))


FAMILIES = {
    "good": pg.Diffusion(n_hidden=32, n_blocks=2, n_sampling_steps=8),
    "poor": pg.GAN(n_hidden=4, n_layers=1),
    "refused": pg.MaskedDiffusion(),
}


@pytest.fixture(scope="module")
def found():
    return benchmark(
        events(), FAMILIES, budgets=(3,), leave_out="c > 0.4 and c < 0.6", n_test=400, rng=1
    )


def test_what_is_measured(found):
    good, poor, refused = found.trials
    assert good.auc.value < poor.auc.value
    assert good.auc.floor == pytest.approx(0.5, abs=0.1)
    assert 0.4 < good.interpolated.value <= 1
    assert set(good.milliseconds) == {1, 100, 10_000}
    assert good.milliseconds[1] > good.milliseconds[100]
    assert poor.milliseconds[100] < good.milliseconds[100]
    assert good.training > 1
    assert refused.auc is None
    assert refused.problem
    # 400 of the test are at most a fifth of what is not left out
    assert found.n_test == pytest.approx(320, abs=20)


def test_the_table_and_the_advice(found):
    text = str(found)
    assert "left out of the training: c > 0.4 and c < 0.6" in text
    assert "In 3 s of training use good" in text
    assert "poor makes events" in text
    assert f"refused: {found.trials[2].problem}" in text
    with_less = dataclasses.replace(found, trials=found.trials[2:])
    assert "no family learned" in str(with_less)


def test_of_families_that_are_equal_the_fastest_is_advised(found):
    good = found.trials[0]
    auc = good.auc
    alike = dataclasses.replace(auc, value=auc.value + 2.5 * auc.std_error)
    slow = dataclasses.replace(good, family="slow", milliseconds={1: 9000.0})
    fast = dataclasses.replace(good, family="fast", auc=alike, milliseconds={1: 6000.0})
    text = str(dataclasses.replace(found, trials=(slow, fast)))
    assert f"use fast (AUC {alike.value:.3f}, within the error of slow, and faster)." in text
    worse = dataclasses.replace(auc, value=auc.value + 3.5 * auc.std_error)
    apart = dataclasses.replace(fast, auc=worse)
    assert "use slow" in str(dataclasses.replace(found, trials=(slow, apart)))


def test_batches_that_take_too_long_are_left_out(monkeypatch):
    surrogate = pg.Surrogate.fit(events(300), FAMILIES["good"], steps=3, rng=0)
    monkeypatch.setattr(benchmarking, "_PATIENCE", 0.0)
    assert set(milliseconds(surrogate, events(50))) == {1}


def test_files(found, tmp_path):
    for name in ("b.json", "b.txt", "b.png", "b.svg"):
        found.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 300
    stored = json.loads((tmp_path / "b.json").read_text())
    assert stored["trials"][0]["auc"]["value"] == found.trials[0].auc.value
    with pytest.raises(ValueError, match=r"written as \.json"):
        found.save(tmp_path / "b.xlsx")
    assert not (tmp_path / "b.xlsx").exists()


def test_an_event_left_out_is_in_no_training():
    """Where no training was, a law that changes there is missed."""
    given = events(3000)
    y = np.where(given["c"] > 0.6, 20.0, 0.0) + given["y"]
    given = pg.Events(given.schema, {**given.to_dict(), "y": y})
    family = {"d": pg.Diffusion(n_hidden=16, n_blocks=1, n_sampling_steps=6)}
    out = benchmark(given, family, budgets=(2,), leave_out="c > 0.6", rng=1)
    trial = out.trials[0]
    assert trial.interpolated.value > 0.99
    assert trial.auc.value < 0.98
    assert out.n_train + out.n_test == int((given["c"] <= 0.6).sum())


def test_times_grow_with_the_steps():
    surrogate = pg.Surrogate.fit(events(300), FAMILIES["good"], steps=3, rng=0)
    fast = milliseconds(surrogate, events(50))
    surrogate.model.settings = dataclasses.replace(FAMILIES["good"], n_sampling_steps=40)
    assert milliseconds(surrogate, events(50))[100] > 2 * fast[100]


def test_refusals():
    with pytest.raises(ValueError, match="unknown family 'flow'"):
        benchmark(events(), ["flow"], rng=0)
    with pytest.raises(ValueError, match="takes 0 of 2000 events out"):
        benchmark(events(), ["gan"], leave_out="c > 7", rng=0)
    with pytest.raises(ValueError, match="too few for a test"):
        benchmark(events(300), ["gan"], rng=0)


def test_the_shell(tmp_path, capsys):
    pg.write_events(tmp_path / "e.h5", events(1200))
    line = ["benchmark", str(tmp_path / "e.h5"), "--families", "gan", "--budgets", "2s"]
    assert main([*line, "-o", str(tmp_path / "q.png"), "--seed", "3"]) == 0
    assert "In 2 s of training use gan" in capsys.readouterr().out
    assert (tmp_path / "q.png").exists()
    assert main([*line, "-o", str(tmp_path / "q.doc")]) == 1
    assert main(["benchmark", str(tmp_path / "e.h5"), "--families", "flow"]) == 1


def test_distill_in_the_shell(tmp_path, capsys):
    surrogate = pg.Surrogate.fit(events(500), FAMILIES["good"], steps=3, rng=0)
    surrogate.save(tmp_path / "run")
    pg.write_events(tmp_path / "e.h5", events(1200))
    line = ["distill", str(tmp_path / "run"), "--n-events", "200", "--steps", "3"]
    assert main([*line, "--given", "c=7", "-o", str(tmp_path / "student")]) == 1
    assert "outside the trained range" in capsys.readouterr().err
    # the same seed has the same first conditions
    given = ["--conditions", str(tmp_path / "e.h5")]
    assert main([*line, *given, "-o", str(tmp_path / "student")]) == 0
    assert "2 network calls per event" in capsys.readouterr().out
    assert pg.Surrogate.load(tmp_path / "student").settings.sampler == "euler"
