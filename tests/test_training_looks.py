"""Looks into a model while it trains: no trace, little time, and a verdict that counts."""

import contextlib
import json
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen.models import ContrastiveDivergence
from physgen.models.base import TensorSpec
from physgen.random import seeded_layers
from physgen.training import History, TrainingConfig, TrainingError, train
from physgen.training import looks as looks_module
from physgen.training import loop as loop_module

EBM_OF_TWO_STEPS = pg.EBM(objective=ContrastiveDivergence(n_steps=2))


class Noisy(nn.Module):
    """Drifts by noise from the training's generator and from torch's own."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))
        self.seen = nn.Buffer(torch.zeros(()))

    def players(self):
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        return {"model": self.optimizer}

    def loss(self, x, condition, *, player, rng):
        if self.training:
            self.seen += 1
        noise = rng.normal(len(x)) + torch.randn(len(x))
        return (x[:, 0] + noise - self.value).square()


class Shown(Noisy):
    """Shows its value; what the loop hands over is kept in ``looks``."""

    def __init__(self):
        super().__init__()
        self.looks = []

    def diagnose(self, x, condition, *, rng):
        self.looks.append(
            SimpleNamespace(
                x=x[:, 0].tolist(), noise=rng.normal(3).tolist(), value=self.value.item(),
                training=self.training, grad=torch.is_grad_enabled(),
            )
        )  # fmt: skip
        return {"value": self.value.item()}, []


class Meddler(Shown):
    """Leaves nothing as it was."""

    def diagnose(self, x, condition, *, rng):
        self.value.add_(1)
        self.seen.add_(1)
        torch.randn(5)
        return super().diagnose(x, condition, rng=rng)


class Diverging(Shown):
    """Says at the looks that ``breaks`` chooses by their number that it diverges."""

    def __init__(self, breaks):
        super().__init__()
        self.breaks = breaks

    def diagnose(self, x, condition, *, rng):
        shown = super().diagnose(x, condition, rng=rng)
        if self.breaks(len(self.looks)):
            raise FloatingPointError("the chains run away")
        return shown


def config(**changes):
    plain = {"warmup_steps": 0, "decay": 0.0, "averaging": 0.0, "validation_fraction": 0.0}
    return TrainingConfig(**{"steps": 1000, "batch_size": 16, **plain, **changes})


def column(n=256):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(0)) + 5


@pytest.fixture
def clock(monkeypatch):
    """A clock on which a step takes ``clock.step`` seconds and a look ``clock.look``."""
    # 64 steps per second without rounding, so that every 100 steps are logged
    fake = SimpleNamespace(now=0.0, step=1 / 64, look=0.0)
    time = SimpleNamespace(monotonic=lambda: fake.now)
    monkeypatch.setattr(loop_module, "time", time)
    monkeypatch.setattr(looks_module, "time", time)
    step, look = loop_module.Loop._one_step, looks_module.Looks._checked

    def timed_step(self):
        fake.now += fake.step
        step(self)

    def timed_look(self, shown):
        fake.now += fake.look
        return look(self, shown)

    monkeypatch.setattr(loop_module.Loop, "_one_step", timed_step)
    monkeypatch.setattr(looks_module.Looks, "_checked", timed_look)
    return fake


def trained(model, **changes):
    torch.manual_seed(0)
    history = train(model, column(), config=config(**changes), rng=1)
    return history, {n: t.clone() for n, t in model.state_dict().items()}


def equal(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------- no trace


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("kind", [Shown, Meddler])
@pytest.mark.parametrize("changes", [{}, {"averaging": 0.05, "validation_fraction": 0.1}])
def test_the_weights_are_those_of_a_training_without_looks(kind, changes):
    history, weights = trained(kind(), steps=400, **changes)
    assert history.diagnostics["step"] == [100, 200, 300, 400]
    assert equal(weights, trained(Noisy(), steps=400, **changes)[1])


@pytest.mark.usefixtures("clock")
def test_that_takes_more_than_good_will(monkeypatch):
    """The control: without the protection a model that meddles trains to other weights."""
    monkeypatch.setattr(looks_module, "untouched", lambda _: contextlib.nullcontext())
    weights = trained(Noisy(), steps=150)[1]
    assert not equal(trained(Meddler(), steps=150)[1], weights)
    assert equal(trained(Shown(), steps=150)[1], weights)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("settings", [pg.RBM(n_hidden=4), EBM_OF_TWO_STEPS])
def test_our_models_with_chains_keep_every_bit(settings, monkeypatch):
    def trained_weights():
        with seeded_layers(0):
            model = settings.build(TensorSpec(n_features=4, binary=(True,) * 4))
        x = torch.where(column().expand(-1, 4) < 5.5, 1.0, -1.0)
        history = train(model, x, config=config(steps=150, averaging=0.05), rng=1)
        return history, model.state_dict()

    history, weights = trained_weights()
    assert history.diagnostics["step"] == [100, 150]
    assert len(history.last_look) > 2
    monkeypatch.setattr(type(settings.build(TensorSpec(n_features=4))), "diagnose", None)
    blind, weights_without = trained_weights()
    assert blind.diagnostics == {}
    assert equal(weights, weights_without)


def test_a_look_is_in_eval_mode_without_gradients_on_the_averaged_weights():
    model = Shown()
    _, weights = trained(model, steps=50, averaging=0.1)
    (look,) = model.looks
    assert (look.training, look.grad) == (False, False)
    assert look.value == weights["value"].item()
    assert not model.training


def test_a_model_may_ask_for_gradients():
    class Slope(Shown):
        def diagnose(self, x, condition, *, rng):
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.value.square().sum(), self.value)
            return {"slope": slope}, []

    model = Slope()
    history, weights = trained(model, steps=5)
    assert history.last_look["slope"] == pytest.approx(2 * weights["value"].item())


@pytest.mark.usefixtures("clock")
def test_the_rows_are_held_out_and_the_noise_is_the_same():
    model, x = Shown(), torch.arange(4000.0)[:, None] / 4000
    train(model, x, config=config(steps=200, validation_fraction=0.5), rng=0)
    first, second = model.looks
    assert (first.x, first.noise) == (second.x, second.noise)
    assert len(set(first.x)) == 1024


def test_held_out_rows_if_there_are_any_and_training_rows_otherwise():
    def rows(fraction):
        model = Shown()
        batches, loss = [], model.loss

        def remembered(x, condition, *, player, rng):
            batches.extend(x[:, 0].tolist() if model.training else [])
            return loss(x, condition, player=player, rng=rng)

        model.loss = remembered
        setting = config(steps=None, epochs=1, validation_fraction=fraction)
        train(model, torch.arange(160.0)[:, None], config=setting, rng=0)
        return set(model.looks[0].x), set(batches)

    looked_at, batches = rows(0.5)
    assert len(looked_at) == 80
    assert not looked_at & batches
    assert rows(0.0)[0] == set(range(160))


def looked_at(weight, n_held_out=None):
    """Values of the rows 0, 1, ... that a look shows."""
    n = len(weight)
    x = torch.arange(float(n))[:, None]
    held_out = torch.arange(n)[: n if n_held_out is None else n_held_out]
    data = SimpleNamespace(held_out=held_out, rows=torch.arange(n), x=x, condition=x)
    data.weight = torch.as_tensor(weight)
    looks = looks_module.Looks(Shown(), data)
    assert torch.equal(looks.x, looks.condition)
    return looks.x[:, 0]


def test_a_plain_mean_over_a_look_is_the_weighted_one():
    weight = torch.rand(5000, generator=torch.Generator().manual_seed(0)) ** 4
    weight[:100] = weight[-100:] = 0
    value = torch.randn(5000, generator=torch.Generator().manual_seed(1)) + 3 * weight
    shown = looked_at(weight).long()
    assert len(shown) == 1024
    mean = float((weight * value).sum() / weight.sum())
    error = float(value[shown].std()) / 32
    assert abs(float(value[shown].mean()) - mean) < 4 * error
    assert abs(float(value[:1024].mean()) - mean) > 10 * error  # as they are
    counts = torch.bincount(shown, minlength=5000)
    assert counts[weight == 0].sum() == 0
    assert ((counts - 1024 * weight / weight.sum()).abs() < 1).all()


def test_each_event_is_looked_at_once_where_weights_are_equal():
    assert looked_at(torch.ones(300)).tolist() == list(range(300))
    assert len(looked_at(torch.full((3000,), 0.1)).unique()) == 1024
    assert looked_at(torch.tensor([0.0, 1.0, 3.0, 0.0])).tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("weight", [[2.0, -1.0, 3.0, 1.0], [0.0, 0.0, 0.0, 7.0]])
def test_events_without_a_law_are_looked_at_as_they_are(weight):
    assert looked_at(weight, n_held_out=3).tolist() == [0, 1, 2]


# ---------------------------------------------------------------- how often


@pytest.mark.usefixtures("clock")
def test_steps_between_looks_grow_by_a_fifth():
    history, _ = trained(Shown(), steps=2000)
    steps = [100, 200, 300, 400, 500, 600, 800, 1000, 1200, 1500, 1800, 2000]
    assert history.diagnostics["step"] == steps


@pytest.mark.parametrize(("look", "n_looks"), [(0.0, 19), (1.0, 6), (10.0, 1)])
def test_looks_take_a_twentieth_of_the_time(clock, look, n_looks):
    clock.look = look
    rows, x = torch.arange(8), column(8)
    data = SimpleNamespace(held_out=rows, rows=rows, x=x, condition=x, weight=None)
    looks = looks_module.Looks(Shown(), data)
    for step in range(100, 10_000, 100):
        clock.now += 100 / 64
        if looks.due(step, clock.now):
            looks.take(step)
            assert looks.spent + look <= max(2 * look, 0.05 * clock.now)
    assert len(looks.model.looks) == n_looks


@pytest.mark.parametrize("look", [0.05, 1.0, 5.0])
def test_a_budget_in_seconds_trains_for_19_of_20(clock, look):
    clock.look = look
    model = Shown()
    trained(model, steps=None, budget="20s")
    assert 0.95 * 20 * 64 <= model.seen.item() < 20 * 64
    # the first and the last look come on top if they are slow
    assert clock.now <= 20.1 + (2 * look if look > 0.5 else 0)


def test_a_short_training_is_looked_at_in_the_end():
    history, weights = trained(Shown(), steps=3)
    assert history.diagnostics == {"step": [3], "value": [weights["value"].item()]}


@pytest.mark.usefixtures("clock")
def test_the_progress_knows_the_last_look():
    told = []
    train(Shown(), column(), config=config(steps=250), rng=0, progress=told.append)
    assert told[0].diagnostics == {}
    assert list(told[-1].diagnostics) == ["value"]


# ---------------------------------------------------------------- what is noted


@pytest.mark.usefixtures("clock")
def test_a_warning_is_told_once_with_its_step(caplog):
    class Sticky(Shown):
        def diagnose(self, x, condition, *, rng):
            shown = super().diagnose(x, condition, rng=rng)[0]
            n = len(self.looks)
            return shown, [f"the chains no longer mix: tau = {10.5**n:g}"] * (n > 1)

    with caplog.at_level(logging.WARNING):
        history, _ = trained(Sticky(), steps=500)
    assert history.messages == ["at step 200: the chains no longer mix: tau = 110.25"]
    assert caplog.messages == history.messages


def test_a_history_has_a_gap_where_a_name_is_missing():
    history = History()
    history.add_look(1, {})
    assert history.diagnostics == {}
    history.add_look(1, {"a": 1.0})
    history.add_look(2, {"b": 2.0})
    history.add_look(3, {"a": 3.0, "b": 4.0})
    np.testing.assert_equal(
        history.diagnostics,
        {"step": [1, 2, 3], "a": [1.0, math.nan, 3.0], "b": [math.nan, 2.0, 4.0]},
    )
    assert history.last_look == {"a": 3.0, "b": 4.0}
    history.add_look(3, {"a": 5.0})
    assert history.diagnostics["step"] == [1, 2, 3]
    np.testing.assert_equal(history.last_look, {"a": 5.0, "b": math.nan})


def test_a_stored_history_comes_back():
    history = History(steps=[1], seconds=[0.5], losses={"a": [1.0]}, n_events_seen=5)
    history.add_look(1, {"tau": math.nan, "R-hat": 1.25})
    text = json.dumps(history.to_dict()).replace("NaN", "null")
    again = History.from_dict(json.loads(text))
    np.testing.assert_equal(again.to_dict(), history.to_dict())
    old = history.to_dict()
    del old["diagnostics"]
    assert History.from_dict(old).diagnostics == {}


def test_a_surrogate_keeps_what_was_seen(tmp_path, monkeypatch):
    shown = {"tau [steps]": math.nan, "R-hat": 1.25}
    kind = type(pg.RBM().build(TensorSpec(n_features=2)))
    monkeypatch.setattr(kind, "diagnose", lambda *_, **__: (shown, []))
    events = pg.Events.from_dict({"x": np.random.default_rng(0).normal(size=50)})
    surrogate = pg.Surrogate.fit(events, pg.RBM(n_hidden=2), steps=2, rng=0)
    surrogate.save(tmp_path / "run")
    again = pg.Surrogate.load(tmp_path / "run").history
    np.testing.assert_equal(again.last_look, shown)


@pytest.mark.parametrize(
    ("shown", "error", "message"),
    [
        (None, TypeError, r"Shown\.diagnose must return numbers by name.*got None"),
        ({"a": 1.0}, TypeError, "must return numbers by name and a list of warnings"),
        (({"a": "high"}, []), TypeError, r"got \({'a': 'high'}, \[\]\)"),
        (({"step": 1.0}, []), ValueError, "names a number 'step'.*choose another name"),
    ],
)
def test_what_diagnose_must_not_return(shown, error, message, monkeypatch):
    monkeypatch.setattr(Shown, "diagnose", lambda *_, **__: shown)
    with pytest.raises(error, match=message):
        trained(Shown(), steps=2)


def test_one_warning_may_be_a_string(monkeypatch):
    monkeypatch.setattr(Shown, "diagnose", lambda *_, **__: ({}, "too hot"))
    history, _ = trained(Shown(), steps=2)
    assert history.messages == ["at step 2: too hot"]
    assert history.diagnostics == {}


# ---------------------------------------------------------------- a model that diverges


@pytest.mark.usefixtures("clock")
def test_a_verdict_leads_back_to_the_last_state_that_passed_a_look(monkeypatch):
    """Looks at 100, ..., 600, 800, 1000: the one at 800 fails, 700 was not looked at."""
    model = Diverging(lambda look: look == 7)
    restored = []
    restore = loop_module.Snapshot.restore

    def spy(self, *args):
        restore(self, *args)
        restored.append((self.step, model.value.item()))

    monkeypatch.setattr(loop_module.Snapshot, "restore", spy)
    history, _ = trained(model)
    assert restored == [(600, model.looks[5].value)]
    (message,) = history.messages
    assert message.startswith("before step 800: the chains run away; went back to the last good")
    assert history.steps == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]
    assert history.diagnostics["step"] == [100, 200, 300, 400, 500, 600, 700, 900, 1000]
    assert model.optimizer.param_groups[0]["lr"] == 0.005
    assert history.n_events_seen == 1200 * 16


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("averaging", [0.0, 0.05])
def test_a_model_that_diverges_again_and_again_stops_with_the_last_good_state(averaging):
    model = Diverging(lambda look: look > 3)
    with pytest.raises(TrainingError) as stopped:
        trained(model, averaging=averaging)
    assert "after five returns to the last good state" in str(stopped.value)
    assert "before step 400: the chains run away" in str(stopped.value)
    assert "the model holds the state of step 300" in str(stopped.value)
    assert isinstance(stopped.value.__cause__, FloatingPointError)
    assert not model.training
    # the training of 300 steps, to the bit; one of 301 is another
    assert equal(model.state_dict(), trained(Shown(), steps=300, averaging=averaging)[1])
    assert not equal(model.state_dict(), trained(Shown(), steps=301, averaging=averaging)[1])
    history = stopped.value.history
    assert history.steps == history.diagnostics["step"] == [100, 200, 300]
    assert len(history.messages) == 5


@pytest.mark.usefixtures("clock")
def test_a_loss_may_say_the_same():
    class Runaway(Shown):
        def loss(self, x, condition, *, player, rng):
            if self.training and self.seen == 420:
                raise FloatingPointError("energies fell below -1e6")
            return super().loss(x, condition, player=player, rng=rng)

    model = Runaway()
    with pytest.raises(TrainingError, match="before step 420: energies fell below"):
        trained(model)
    assert equal(model.state_dict(), trained(Shown(), steps=400)[1])


@pytest.mark.usefixtures("clock")
def test_a_verdict_at_the_end_of_the_steps_trains_the_rest_again():
    model = Diverging(lambda look: look == 4)
    history, _ = trained(model, steps=350)
    assert history.diagnostics["step"] == [100, 200, 300, 350]
    assert len(history.messages) == 1
    assert history.n_events_seen == 400 * 16


@pytest.mark.usefixtures("clock")
def test_a_verdict_at_the_end_of_the_time_gives_the_last_good_state():
    model = Diverging(lambda look: look == 4)
    history, weights = trained(model, steps=None, budget=350 / 64)
    assert len(model.looks) == 5  # the one that failed, and one at what the model went back to
    assert history.diagnostics["step"] == [100, 200, 300]
    assert weights["value"].item() == model.looks[2].value
    with pytest.raises(TrainingError, match="the budget is over before any good state"):
        trained(Diverging(lambda _: True), steps=None, budget=0.5)


@pytest.mark.usefixtures("clock")
def test_the_last_step_is_looked_at_once():
    model = Shown()
    history, weights = trained(model, steps=300, averaging=0.1)
    assert len(model.looks) == 3
    assert history.last_look == {"value": weights["value"].item()}


def test_a_model_that_never_passes_a_look_holds_its_first_weights():
    model = Diverging(lambda _: True)
    with pytest.raises(TrainingError, match="holds the state of step 0"):
        trained(model, steps=20)
    assert equal(model.state_dict(), Shown().state_dict())
