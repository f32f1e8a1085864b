"""A training that is killed goes on, and ends with the same bits as one that was left alone."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen.cli import main
from physgen.files.lock import locked
from physgen.models import ebm, gan, rbm
from physgen.networks.mlp import Perceptron
from physgen.training import Checkpoint, TrainingConfig, TrainingError, train
from physgen.training import loop as loop_module
from physgen.training.checkpoint import STATE, TENSORS

SHORT = TrainingConfig(steps=36, batch_size=16)


class Killed(BaseException):
    """What a kill looks like from within, as far as the folder is concerned."""


@pytest.fixture
def kill_after(monkeypatch):
    """Let the training die after so many steps."""

    def arm(n_steps):
        counter = count(1)

        def dying(self):
            if next(counter) > n_steps:
                raise Killed
            plain(self)

        monkeypatch.setattr(loop_module.Loop, "_one_step", dying)

    plain = loop_module.Loop._one_step
    yield arm
    monkeypatch.setattr(loop_module.Loop, "_one_step", plain)


def numbers(n=300):
    rng = np.random.default_rng(0)
    return pg.Events.from_dict({"x": rng.normal(size=n), "y": rng.exponential(size=n)})


def spins(n=300):
    values = np.random.default_rng(0).choice([-1, 1], (n, 6)).astype(np.int8)
    return pg.Events.from_dict({"spins": values, "beta": np.linspace(0.2, 0.6, n)})


def shape_of(history):
    """What does not hang on the clock."""
    parts = history.to_dict()
    del parts["seconds"]
    return json.dumps(parts)


def same(a, b):
    mine, others = a.model.state_dict(), b.model.state_dict()
    return mine.keys() == others.keys() and all(torch.equal(mine[n], others[n]) for n in mine)


class Dropping(nn.Module):
    """A module of a user's own, with noise of torch's global generator and a state of its own."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.3), nn.Linear(8, 2))
        self.n_seen = 0

    def loss(self, x, condition, *, player, rng):
        self.n_seen += self.training
        return (self.layers(x + rng.normal(*x.shape)) - x).square().mean(1) * (1 + self.n_seen % 3)

    def sample(self, n_events, condition, *, rng):
        return self.layers(rng.normal(n_events, 2))

    def get_extra_state(self):
        return torch.tensor(self.n_seen)

    def set_extra_state(self, state):
        self.n_seen = int(state)


TINY = {"n_hidden": 8, "n_layers": 1}
FAMILIES = [
    pg.VAE(**TINY),
    pg.Diffusion(n_hidden=8, n_blocks=1),
    pg.GAN(**TINY),
    pg.GAN(**TINY, objective=gan.Hinge()),
    pg.GAN(**TINY, objective=gan.WassersteinGP()),
    pg.EBM(network=ebm.MLPEnergy(**TINY)),
    pg.EBM(network=ebm.MLPEnergy(**TINY), objective=ebm.DenoisingScoreMatching()),
    pg.RBM(n_hidden=4),
    Dropping,
]  # fmt: skip
OF_SPINS = [
    pg.RBM(n_hidden=4, chains=rbm.CD()),
    pg.RBM(n_hidden=4, chains=rbm.PCD()),
    pg.RBM(n_hidden=4, chains=rbm.FastPCD()),
    pg.RBM(n_hidden=4, chains=rbm.TemperedPCD(n_rungs=3)),
    pg.EBM(network=ebm.MLPEnergy(**TINY)),
    pg.MaskedDiffusion(network=Perceptron(n_hidden=8)),
]


def fit(events, model, **how):
    conditions = [n for n in events.schema.names if n == "beta"]
    if isinstance(model, type):
        torch.manual_seed(5)
        model = model()
    how = {"training": SHORT, "rng": 3, **how}
    return pg.Surrogate.fit(events, model, conditions=conditions, **how)


@pytest.mark.parametrize(
    ("events", "model"),
    [*((numbers, m) for m in FAMILIES), *((spins, m) for m in OF_SPINS)],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
@pytest.mark.parametrize(
    "deaths", [(33,), pytest.param((1, 18, 12, 9), marks=pytest.mark.slow)], ids=len
)
def test_every_family_goes_on_to_the_same_bits(
    events, model, deaths, tmp_path, kill_after, monkeypatch
):
    # slow, and due by the clock; that it leaves no trace is tested elsewhere
    monkeypatch.setattr(rbm.RBMModel, "diagnose", lambda *_, **__: ({}, []))
    monkeypatch.setattr(loop_module, "_LOG_STEPS", 20)
    whole = fit(events(), model)
    # what came after the last checkpoint is lost: before the first log, at it, beyond
    for n_steps in deaths:
        kill_after(n_steps)
        with pytest.raises(Killed):
            fit(events(), model, checkpoint=tmp_path / "kept", checkpoint_every=5)
    kill_after(10**9)
    resumed = fit(events(), model, checkpoint=tmp_path / "kept", checkpoint_every=1000)
    assert same(resumed, whole)
    assert shape_of(resumed.history) == shape_of(whole.history)


def test_another_seed_gives_other_bits():
    setting = TrainingConfig(steps=3)
    first, second = (fit(numbers(), FAMILIES[0], training=setting, rng=seed) for seed in (3, 4))
    assert not same(first, second)


def test_undisturbed_trainings_with_a_score_are_equal_whatever_the_clock_says(monkeypatch):
    def fitted(tick):
        ticks = count(0.0, tick)
        clock = type("time", (), {"monotonic": staticmethod(lambda: next(ticks))})
        for module in ("loop", "looks"):
            monkeypatch.setattr(f"physgen.training.{module}.time", clock)
        training = TrainingConfig(steps=500, batch_size=8)
        return fit(numbers(), pg.GAN(**TINY), training=training)

    slow, fast = fitted(10.0), fitted(1e-6)
    assert len(slow.history.diagnostics["step"]) == 5
    assert same(slow, fast)
    assert shape_of(slow.history) == shape_of(fast.history)


# ---------------------------------------------------------------- rescues and time


class Fragile(nn.Module):
    """Least squares, whose loss is NaN at some updates."""

    def __init__(self, *breaks):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))
        self.n = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.breaks = list(breaks)

    def loss(self, x, condition, *, player, rng):
        self.n += 1
        loss = (x[:, 0] + 0.1 * rng.normal(len(x)) - self.value).square()
        if self.training and self.breaks and int(self.n) >= self.breaks[0]:
            self.breaks.pop(0)
            return loss * torch.nan
        return loss


def column(n=256):
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(0))


def weights(model, folder=None, **changes):
    plain = {"steps": 70, "batch_size": 16, "validation_fraction": 0.0}
    config = TrainingConfig(**plain | changes)
    checkpoint = None if folder is None else Checkpoint(folder, 10)
    history = train(model, column(), config=config, rng=1, checkpoint=checkpoint)
    return float(model.value.detach()), history


def test_a_rescue_leads_back_to_the_same_state_after_a_resume(tmp_path, kill_after):
    value, history = weights(Fragile(150), steps=250)
    kill_after(130)
    with pytest.raises(Killed):
        weights(Fragile(150), tmp_path / "kept", steps=250)
    kill_after(110)  # beyond the rescue, whose return is kept
    with pytest.raises(Killed):
        weights(Fragile(150), tmp_path / "kept", steps=250)
    kill_after(10**9)
    again, resumed = weights(Fragile(), tmp_path / "kept", steps=250)
    assert again == value
    assert shape_of(resumed) == shape_of(history)
    assert len(resumed.messages) == 1


def test_a_training_that_is_given_up_leaves_nothing(tmp_path):
    with pytest.raises(TrainingError, match="after five returns"):
        weights(Fragile(*[1] * 1000), tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_model_keeps_what_there_was(tmp_path, kill_after, monkeypatch):
    """Only what would end in the same way again is thrown away."""
    events = numbers().with_columns({"w": np.ones(300)}, role="weight")
    kill_after(7)
    with pytest.raises(Killed):
        fit(events, Dropping, checkpoint=tmp_path / "kept", checkpoint_every=5)
    kill_after(10**9)
    before = checkpoints(tmp_path / "kept")
    assert before
    with monkeypatch.context() as patch:
        right = Dropping.loss
        patch.setattr(Dropping, "loss", lambda *a, **more: right(*a, **more).mean())
        with pytest.raises(TrainingError, match="loss returned one number"):
            fit(events, Dropping, checkpoint=tmp_path / "kept", checkpoint_every=5)
    assert checkpoints(tmp_path / "kept") == before
    resumed = fit(events, Dropping, checkpoint=tmp_path / "kept", checkpoint_every=5)
    assert same(resumed, fit(events, Dropping))


def test_a_budget_in_seconds_goes_on_with_what_is_left(tmp_path, kill_after, monkeypatch):
    now = [0.0]
    clock = type("time", (), {"monotonic": staticmethod(lambda: now[0])})
    for module in ("loop", "looks", "checkpoint"):
        monkeypatch.setattr(f"physgen.training.{module}.time", clock)
    loss = Fragile.loss

    def timed(self, *args, **kwargs):
        now[0] += 0.01
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(Fragile, "loss", timed)
    kill_after(120)
    with pytest.raises(Killed):
        weights(Fragile(), tmp_path / "kept", steps=None, budget=4.0)
    now[0] += 1e6  # asleep
    kill_after(10**9)
    model = Fragile()
    _, history = weights(model, tmp_path / "kept", steps=None, budget=4.0)
    assert history.steps[-1] == pytest.approx(400, abs=2)
    assert history.seconds[-1] == pytest.approx(4.0, abs=0.02)


# ---------------------------------------------------------------- another training, damage


def begun(folder, kill_after, n_steps=50):
    kill_after(n_steps)
    with pytest.raises(Killed):
        weights(Fragile(), folder)
    kill_after(10**9)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 60}, r"training\.steps \(70 there, 60 here\)"),
        ({"batch_size": 8, "decay": 0.5}, r"batch_size \(16 there, 8 here\), training\.decay \(1"),
    ],
)
def test_other_settings_are_refused(tmp_path, kill_after, change, words):
    folder = begun(tmp_path / "kept", kill_after)
    with pytest.raises(ValueError, match=f"another one: it differs in .*{words}.*delete .*kept"):
        weights(Fragile(), folder, **change)
    assert weights(Fragile(), folder)[0] == weights(Fragile())[0]


def test_other_data_seed_model_and_version_are_refused(tmp_path, kill_after, monkeypatch):
    def fitted(model=FAMILIES[0], events=None, rng=3):
        return fit(numbers() if events is None else events, model, checkpoint="kept", rng=rng)

    monkeypatch.chdir(tmp_path)
    kill_after(20)
    with pytest.raises(Killed):
        fit(numbers(), FAMILIES[0], checkpoint="kept", checkpoint_every=5)
    kill_after(10**9)
    with pytest.raises(ValueError, match=r"differs in seed \(3 there, 4 here\)"):
        fitted(rng=4)
    with pytest.raises(ValueError, match=r"n_events \(300 there, 299 here\), data_sha256"):
        fitted(events=numbers()[:299])
    with pytest.raises(ValueError, match=r"model\.kl_weight \(0\.3 there, 0\.5 here\)"):
        fitted(pg.VAE(**TINY, kl_weight=0.5))
    monkeypatch.setattr(pg, "__version__", "99")
    with pytest.raises(ValueError, match=r"versions\.physgen \(.* there, 99 here\)"):
        fitted()


def checkpoints(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def spoil(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif how == "flip":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "flip", "lost"])
@pytest.mark.parametrize("name", [STATE, TENSORS])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, kill_after, caplog, name, how):
    folder = begun(tmp_path / "kept", kill_after)
    older, newer = checkpoints(folder)
    spoil(newer / name, how)
    assert weights(Fragile(), folder)[0] == weights(Fragile())[0]
    assert f"{newer.name} is damaged" in caplog.text
    assert "the one before is taken" in caplog.text
    assert older != newer


def test_without_a_whole_checkpoint_the_training_does_not_begin_anew_in_silence(
    tmp_path, kill_after
):
    folder = begun(tmp_path / "kept", kill_after)
    for path in checkpoints(folder):
        spoil(path / TENSORS, "flip")
    with pytest.raises(
        ValueError, match=r"damaged \(the SHA-256 of .* differs\), and there is no"
    ):
        weights(Fragile(), folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"physgen_checkpoint": 1', '"physgen_checkpoint": 99', "newer physgen; upgrade physgen"),
        ('["elapsed", ', '["elapsed", 1', "the SHA-256 of .* differs"),
    ],
)
def test_a_state_that_was_changed_is_refused(tmp_path, kill_after, old, new, words):
    folder = begun(tmp_path / "kept", kill_after)
    for path in checkpoints(folder):
        text = (path / STATE).read_text()
        assert old in text
        (path / STATE).write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=words):
        weights(Fragile(), folder)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path, kill_after):
    folder = begun(tmp_path / "kept", kill_after)
    (folder / ".checkpoint-000009.abc.tmp").mkdir()
    (folder / ".checkpoint-000009.abc.tmp" / TENSORS).write_bytes(b"half")
    kill_after(0)
    with pytest.raises(Killed):
        weights(Fragile(), folder)
    assert {p.name for p in folder.iterdir()} == {
        "lock", "checkpoint-000004", "checkpoint-000005"
    }  # fmt: skip


def test_a_folder_with_something_else_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"it holds mine.txt, which is none of a training"):
        weights(Fragile(), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        weights(Fragile(), tmp_path / "no" / "kept")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_kill_while_an_old_one_is_removed_leaves_no_damage(tmp_path, kill_after, monkeypatch):
    def dying(path, **_):
        (path / STATE).unlink()
        raise Killed

    folder = begun(tmp_path / "kept", kill_after)
    with monkeypatch.context() as patch:
        patch.setattr("physgen.training.checkpoint.shutil.rmtree", dying)
        with pytest.raises(Killed):
            Checkpoint(folder).discard()
    assert len(checkpoints(folder)) == 2
    assert Checkpoint(folder).exists()
    weights(Fragile(), folder)
    Checkpoint(folder).discard()
    assert not folder.exists()


def test_two_processes_do_not_share_a_training(tmp_path):
    with (
        locked(tmp_path / "kept"),
        pytest.raises(
            BlockingIOError, match=rf"another process \({os.getpid()}\) is writing kept"
        ),
    ):
        weights(Fragile(), tmp_path / "kept")


# ---------------------------------------------------------------- the end


def test_a_training_that_has_ended_is_not_made_again(tmp_path, monkeypatch):
    first = fit(numbers(), FAMILIES[0], checkpoint=tmp_path / "kept")
    monkeypatch.setattr(loop_module.Loop, "_one_step", lambda _: pytest.fail("trained again"))
    again = fit(numbers(), FAMILIES[0], checkpoint=tmp_path / "kept")
    assert same(first, again)
    assert again.history == first.history
    assert not again.model.training
    Checkpoint(tmp_path / "kept").discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("every", ["0s", "soon", 0, -5, 1.5, True, "1d"])
def test_intervals_that_are_refused(every):
    with pytest.raises(ValueError, match=r"cannot read|must be positive|1 or more steps"):
        Checkpoint("kept", every)


def test_checkpoints_that_are_due_by_time_take_a_twentieth_of_it(tmp_path, monkeypatch):
    now = [0.0]
    clock = type("time", (), {"monotonic": staticmethod(lambda: now[0])})
    monkeypatch.setattr("physgen.training.checkpoint.time", clock)
    checkpoint = Checkpoint(tmp_path / "kept", "10s")

    def slow(*_):
        now[0] += 2.0

    monkeypatch.setattr(checkpoint, "_write", slow)
    written = []
    (tmp_path / "kept").mkdir()
    for step in range(200):
        now[0] += 1.0
        if checkpoint.due():
            checkpoint.write({}, step)
            written.append(step)
    assert np.diff(written).tolist() == [40] * 4
    assert written[0] == 9


# ---------------------------------------------------------------- a disk that fails


@pytest.mark.parametrize(
    ("call", "code"),
    [("fsync", errno.ENOSPC), ("rename", errno.EIO), ("mkdir", errno.EROFS)],
)
def test_a_training_survives_a_checkpoint_that_cannot_be_written(
    tmp_path, monkeypatch, caplog, code, call
):
    folder, broken = tmp_path / "kept", [False]
    owner = os if call == "fsync" else Path
    plain = getattr(owner, call)

    def failing(*args, **kwargs):
        if broken[0]:
            raise OSError(code, os.strerror(code))
        return plain(*args, **kwargs)

    monkeypatch.setattr(owner, call, failing)
    step = loop_module.Loop._one_step

    def meddling(self):
        step(self)
        broken[0] = 25 <= self.step < 45

    monkeypatch.setattr(loop_module.Loop, "_one_step", meddling)
    value, _ = weights(Fragile(), folder)
    told = [m for m in caplog.messages if "no checkpoint of step" in m]
    assert len(told) == 2
    assert told[0].endswith("; the last is that of step 20")
    assert value == weights(Fragile())[0]


def test_a_state_that_cannot_be_kept_stops_no_training(tmp_path, caplog):
    class Odd(Fragile):
        def players(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
            optimizer.state[self.value]["since"] = torch.float32
            return {"model": optimizer}

    value, _ = weights(Odd(), tmp_path / "kept", steps=15)
    assert value == weights(Odd(), steps=15)[0]
    assert "a checkpoint holds tensors, numbers and words, but " in caplog.text
    assert "optimizers/model/state/0/since is a dtype" in caplog.text


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signals_end_tidily(tmp_path, monkeypatch, caplog, number, error):
    folder = tmp_path / "kept"
    step, before = loop_module.Loop._one_step, signal.getsignal(number)

    def interrupted(self):
        step(self)
        if self.step == 33:
            signal.raise_signal(number)

    monkeypatch.setattr(loop_module.Loop, "_one_step", interrupted)
    with pytest.raises(error) as stopped:
        weights(Fragile(), folder)
    assert getattr(stopped.value, "code", 143) == 143
    assert signal.getsignal(number) is before
    assert caplog.messages == [
        f"stopped after step 34; the same call goes on after step 34, as kept in {folder}"
    ]
    monkeypatch.setattr(loop_module.Loop, "_one_step", step)
    assert weights(Fragile(), folder)[0] == weights(Fragile())[0]


def test_a_second_signal_does_not_wait(tmp_path, monkeypatch):
    def stuck(_):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("waited")

    monkeypatch.setattr(loop_module.Loop, "_one_step", stuck)
    with pytest.raises(KeyboardInterrupt):
        weights(Fragile(), tmp_path / "kept")


def test_a_training_in_a_thread_hears_no_signals(tmp_path):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(weights(Fragile(), tmp_path / "kept", steps=20)[0])
    )
    thread.start()
    thread.join()
    assert found == [weights(Fragile(), steps=20)[0]]


# ---------------------------------------------------------------- memory of the device


class Hungry(nn.Module):
    """Runs out of memory with more than so many events at a time."""

    def __init__(self, limit, *, splits):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))
        self.limit, self.splits_batches = limit, splits
        self.sizes = []

    def players(self):
        return {"model": torch.optim.SGD(self.parameters(), lr=0.05)}

    def loss(self, x, condition, *, player, rng):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(len(x))
        return (x[:, 0] - self.value).square()


@pytest.mark.parametrize("weight", [None, torch.linspace(-0.5, 3, 256)])
def test_a_batch_that_is_too_large_is_split_with_the_same_mathematics(caplog, weight):
    def trained(limit):
        model = Hungry(limit, splits=True)
        config = TrainingConfig(steps=30, batch_size=60, validation_fraction=0.2)
        history = train(model, column(), weight=weight, config=config, rng=1)
        return model, history

    whole, split = trained(1000), trained(17)
    assert set(split[0].sizes) <= set(range(6, 18))
    assert split[0].value.item() == pytest.approx(whole[0].value.item(), rel=1e-5)
    assert split[1].losses["model"] == pytest.approx(whole[1].losses["model"], rel=1e-5)
    assert "batches are taken in 4 parts from here on" in caplog.text


@pytest.mark.parametrize(
    ("limit", "splits", "words"),
    [(17, False, "with 64 events at a time; take a smaller batch_size.*splits_batches = True"),
     (0, True, "with 1 events at a time; take a smaller batch_size or network")],
)  # fmt: skip
def test_a_batch_that_cannot_be_split_stops_with_advice(limit, splits, words):
    with pytest.raises(TrainingError, match=words):
        train(
            Hungry(limit, splits=splits), column(), rng=1,
            config=TrainingConfig(steps=3, batch_size=64),
        )  # fmt: skip


def test_which_families_split_their_batches():
    spec = pg.models.base.TensorSpec(n_features=4)
    splits = {
        type(m).__name__: m.build(spec).splits_batches
        for m in (pg.VAE(), pg.Diffusion(), pg.GAN(), pg.RBM(), pg.EBM())
    }
    assert splits == {"VAE": True, "Diffusion": True, "GAN": False, "RBM": False, "EBM": False}
    assert not pg.Diffusion(coupling="optimal").build(spec).splits_batches


# ---------------------------------------------------------------- the shell

LINE = (
    "train numbers.h5 --model vae --vae.n-hidden 8 --vae.n-layers 1 --batch-size 16 --steps 150 "
    "--seed 3 --checkpoint-every 20 -o"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with a file of events."""
    monkeypatch.chdir(tmp_path)
    pg.write_events("numbers.h5", numbers())
    return tmp_path


def shell(line):
    command = [sys.executable, "-m", "physgen", *line.split()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".h5")


def test_the_same_line_resumes_and_then_says_that_it_is_done(folder, capsys, kill_after):
    line = [*LINE.split(), "run"]
    assert main([*LINE.split(), "whole"]) == 0
    kill_after(110)
    with pytest.raises(Killed):
        main(line)
    assert left(folder) == ["run.training", "whole"]
    kill_after(10**9)
    capsys.readouterr()
    assert main(line) == 0
    assert "2,400 events seen" in capsys.readouterr().out
    assert left(folder) == ["run", "whole"]
    ours, whole = ((folder / n / "weights.safetensors").read_bytes() for n in ("run", "whole"))
    assert ours == whole
    before = (folder / "run" / "surrogate.json").read_bytes()
    assert main(line) == 0
    assert "trained already on these events" in capsys.readouterr().out
    assert (folder / "run" / "surrogate.json").read_bytes() == before
    # another seed is another training, which takes the place of the old one when it has ended
    other = [*LINE.replace("--seed 3", "--seed 4").split(), "run"]
    kill_after(50)
    with pytest.raises(Killed):
        main(other)
    assert (folder / "run" / "surrogate.json").read_bytes() == before
    kill_after(10**9)
    assert main(other) == 0
    assert (folder / "run" / "weights.safetensors").read_bytes() != whole


def test_notes_of_a_resumed_training(folder, kill_after, caplog):
    kill_after(30)
    with pytest.raises(Killed):
        main([*LINE.split(), "run"])
    kill_after(10**9)
    with caplog.at_level(logging.INFO):
        assert main([*LINE.split(), "run"]) == 0
    assert caplog.messages == [f"going on after step 20, as kept in {folder / 'run.training'}"]


def test_a_kill_at_a_random_moment(folder):
    """One; benchmarks/kills.py makes as many as one likes."""
    assert main([*LINE.split(), "whole"]) == 0
    child = shell(f"{LINE} run")
    await_checkpoint(folder)
    time.sleep(np.random.default_rng(time.time_ns()).uniform(0, 0.5))
    child.kill()
    child.communicate()
    assert main([*LINE.split(), "run"]) == 0
    assert left(folder) == ["run", "whole"]
    ours, whole = ((folder / n / "weights.safetensors").read_bytes() for n in ("run", "whole"))
    assert ours == whole


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)],
)
def test_the_shell_ends_with_the_code_of_the_signal(folder, number, code):
    child = shell(f"{LINE} run".replace("--steps 150", "--steps 100000"))
    await_checkpoint(folder)
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code
    assert "the same call goes on after step" in err
    assert "Traceback" not in err
    assert left(folder) == ["run.training"]


def await_checkpoint(folder):
    limit = time.monotonic() + 60
    while not list(folder.glob("run.training/checkpoint-*")) and time.monotonic() < limit:
        time.sleep(0.02)
