"""Bad input from end to end: every error is a sentence, in Python as in the shell.

And what was there before is there afterwards: no file and no training is lost.
"""

import errno
import json
import os
import re
from pathlib import Path

import awkward as ak
import h5py
import numpy as np
import pytest
import torch
import uproot
from torch import nn

import physgen as pg
from physgen.cli import main
from physgen.files import atomic

DATA = Path(__file__).parents[1] / "data"
SMALL = pg.Diffusion(n_hidden=8, n_blocks=1, n_sampling_steps=3)
N = 200


def events(**more):
    rng = np.random.default_rng(0)
    x = rng.normal(size=N)
    return pg.Events.from_dict({"x": x, "y": x + rng.exponential(size=N), **more})


def weighted(weights):
    made = events(w=np.asarray(weights, dtype=np.float64))
    return made.replace_schema(made.schema.with_field("w", role="weight"))


def fit(truth, **settings):
    return pg.Surrogate.fit(truth, SMALL, steps=2, rng=0, **settings)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder):
    fit(events()).save("run")
    return folder / "run"


def shell_says(capsys, line, words, code=1):
    """The command fails with one sentence on stderr that has these words."""
    capsys.readouterr()
    assert main(line.split()) == code
    out, err = capsys.readouterr()
    assert re.search(words, err), err
    assert "Traceback" not in out + err


# ---------------------------------------------------------------- files


def half(source, target):
    content = Path(source).read_bytes()
    Path(target).write_bytes(content[: len(content) // 2])


def not_there(path):
    pg.write_events(path.with_name("events.root"), events())


def empty(path):
    path.write_bytes(b"")


def half_a_root_file(path):
    half(DATA / "zmumu.root", path)


def half_an_hdf5_file(path):
    half(DATA / "showers.h5", path)


def text(path):
    path.write_text("x,y\n1,2\n")


def two_trees(path):
    with uproot.recreate(path) as file:
        for name in ("early", "late"):
            file.mktree(name, {"x": "f8"})
            file[name].extend({"x": np.arange(30.0)})


def no_events_in_a_tree(path):
    with uproot.recreate(path) as file:
        file.mktree("late", {"x": "f8"})


def unequal_lengths(path):
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = np.arange(50.0), np.arange(40.0)


def no_events(path):
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(0)


def nan_and_inf(path):
    x = np.arange(50.0)
    x[[3, 17]], x[40] = np.nan, np.inf
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"], file["y"] = x, np.arange(50.0)
    else:
        with uproot.recreate(path) as file:
            file.mktree("t", {"x": "f8", "y": "f8"})
            file["t"].extend({"x": x, "y": np.arange(50.0)})


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("event.root", not_there, "no file event.root; did you mean 'events.root'"),
        ("a.root", empty, r"a.root is empty \(0 bytes\)"),
        ("a.h5", empty, r"a.h5 is empty \(0 bytes\)"),
        ("a.root", half_a_root_file, "a.root is truncated"),
        ("a.h5", half_an_hdf5_file, "a.h5: the file is damaged or incomplete"),
        ("a.root", text, "a.root is not a ROOT file"),
        ("a.h5", text, "a.h5 is not an HDF5 file"),
        ("a.root", two_trees, "a.root has several trees: early, late"),
        ("a.root", no_events_in_a_tree, "tree 'late' of a.root has no events"),
        ("a.h5", unequal_lengths, "a.h5 have different lengths: x 50, y 40"),
        ("a.h5", no_events, "a.h5 has no events"),
        ("a.h5", nan_and_inf, r"x in 3 of 50 events \(first entries of x: 3, 17, 40\)"),
        ("a.root", nan_and_inf, r"x in 3 of 50 events \(first entries of x: 3, 17, 40\)"),
    ],
)
def test_files_that_cannot_be_used(folder, capsys, name, make, words):
    make(folder / name)
    pg.write_events("good.h5", events())
    with pytest.raises((OSError, ValueError), match=words):
        pg.read_events(name)
    before = sorted(folder.iterdir())
    shell_says(capsys, f"train {name} --steps 1 -o run", words)
    shell_says(capsys, f"compare {name} good.h5", words)
    shell_says(capsys, f"compare good.h5 {name} -o report.html", words)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("name", ["a.h5", "a.root"])
def test_dropping_events_that_are_not_finite_is_asked_for(folder, caplog, name):
    nan_and_inf(folder / name)
    kept = pg.read_events(name, drop_nonfinite=True)
    np.testing.assert_array_equal(kept["y"], np.delete(np.arange(50.0), [3, 17, 40]))
    assert main(f"train {name} --drop-nonfinite --steps 1 -o run".split()) == 0
    assert pg.Surrogate.load("run").info["n_events"] == 47
    assert main(f"compare {name} {name} --drop-nonfinite".split()) == 0
    assert "dropped 3 of 50 events" in caplog.text


def test_wrong_trees_and_columns(folder, capsys):
    two_trees(folder / "a.root")
    with pytest.raises(ValueError, match=r"no tree 'lat' in .*; it has early, late"):
        pg.read_events("a.root", tree="lat")
    shell_says(capsys, "train a.root --tree lat --steps 1 -o run", "it has early, late")
    shell_says(capsys, "info a.root --tree lat", "it has early, late")
    pg.write_events("b.root", events().with_columns({"met": np.arange(N)}))
    words = "no field 'mett' in .*b.root; did you mean 'met'"
    with pytest.raises(pg.SchemaError, match=words):
        pg.read_events("b.root", fields=["mett"])
    shell_says(capsys, "train b.root --fields mett --steps 1 -o run", words)
    shell_says(capsys, "compare b.root b.root --fields mett", words)
    with pytest.raises(pg.SchemaError, match="no field 'mett'; did you mean 'met'"):
        fit(pg.read_events("b.root"), fields=["mett"])
    with pytest.raises(TypeError, match=r"fields=\['met'\]"):
        pg.compare(pg.read_events("b.root"), pg.read_events("b.root"), fields="met", rng=0)


# ---------------------------------------------------------------- columns


def test_nan_in_events_made_by_hand():
    x = events()["x"].copy()
    x[[3, 77]], x[100] = np.nan, -np.inf
    bad = pg.Events.from_dict({"x": x})
    with pytest.raises(ValueError, match=r"x is NaN or infinite in 3 of 200 .*3, 77, 100"):
        fit(bad)
    with pytest.raises(ValueError, match=r"'x' of the candidate .* in 3 of 200 .*3, 77, 100"):
        pg.compare(events(), bad, rng=0)


def test_a_constant_column_is_kept_and_compared():
    truth = events(c=np.full(N, 0.1, np.float32))
    fake = fit(truth)(N, rng=1)
    np.testing.assert_array_equal(fake["c"], truth["c"])
    pg.write_events("fake.root", fake)
    report = pg.compare(truth, pg.read_events("fake.root"), rng=0)
    row = next(row for row in report.table if row.name == "c")
    assert (row.p_value, row.shift, row.js.value, row.ks.value) == (1.0, 0.0, 0.0, 0.0)
    assert report.table[-1].name == "c"
    assert "-0.000 " not in str(report).split("\nc ")[1].split("\n")[0]
    with pytest.raises(pg.SchemaError, match="nothing to generate: every observable is constant"):
        fit(pg.Events.from_dict({"c": np.full(N, 0.1)}))


@pytest.mark.parametrize(
    ("weights", "words"),
    [(np.zeros(N), "weights (add up to 0|are all zero)"), (np.full(N, -1.0), "weights .*-200")],
)
def test_weights_without_a_positive_sum(capsys, weights, words):
    bad = weighted(weights)
    pg.write_events("a.h5", bad)
    with pytest.raises(ValueError, match=words):
        fit(bad)
    with pytest.raises(ValueError, match=f"candidate: .*{words}"):
        pg.compare(events(), bad, rng=0)
    shell_says(capsys, "train a.h5 --steps 1 -o run", words)
    shell_says(capsys, "compare a.h5 a.h5", words)
    assert not Path("run").exists()


def test_no_events_and_few():
    with pytest.raises(pg.SchemaError, match="0 events are too few"):
        fit(events()[:0])
    with pytest.raises(ValueError, match="the candidate has 0 events"):
        pg.compare(events(), events()[:0], rng=0)
    with pytest.raises(ValueError, match="there are no events to write"):
        pg.write_events("a.root", events()[:0])


@pytest.mark.parametrize("jagged", [False, True])
def test_values_that_a_field_does_not_allow(jagged):
    values = np.tile([-1.0, 1.0], N // 2).astype(np.float32)
    values[7] = 3
    columns = {"s": ak.unflatten(values, np.ones(N, int)) if jagged else values}
    truth = pg.Events.from_dict({"x": np.arange(N), **columns})
    bad = truth.replace_schema(truth.schema.with_field("s", allowed=(-1, 1)))
    with pytest.raises(ValueError, match=r"s holds 1 values .*first: 3; allowed: -1, 1\)"):
        fit(bad)
    fit(bad[np.arange(N) != 7])


def test_one_event_at_a_time_can_be_learned():
    truth = pg.Events.from_dict({"x": np.random.default_rng(0).normal(size=30)})
    config = pg.TrainingConfig(steps=3, batch_size=1)
    surrogate = pg.Surrogate.fit(truth, SMALL, training=config, rng=0)
    assert surrogate.model.sigma_data == 1.0
    assert np.isfinite(surrogate(10, rng=0)["x"]).all()


class Broken(nn.Module):
    """A model that does not say what it should."""

    def __init__(self, made):
        super().__init__()
        self.scale, self.made = nn.Parameter(torch.ones(())), made

    def loss(self, x, condition, *, player, rng):
        return (self.scale * x).square().mean(dim=1)

    def sample(self, n_events, condition, *, rng):
        return self.made(n_events)


def nan_in_event_5(n_events):
    x = torch.zeros(n_events, 2)
    x[5, 1] = torch.nan
    return x


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (nan_in_event_5, r"Broken made NaN or infinite numbers for 1 of 100 events \(first: 5\)"),
        (lambda n: torch.zeros(n, 3), r"tensor of shape \(100, 3\) .* are \(100, 2\)"),
    ],
)
def test_a_model_that_makes_no_events(made, words):
    truth = pg.Events.from_dict({"n": np.arange(N) % 40, "x": np.linspace(0, 1, N)})
    surrogate = pg.Surrogate.fit(truth, Broken(made), steps=1, rng=0)
    with pytest.raises(RuntimeError, match=words):
        surrogate(100, rng=0)


def test_what_is_no_events():
    columns = events().to_dict()
    words = "must be Events, got dict; make them with pg.Events.from_dict"
    with pytest.raises(TypeError, match=words):
        fit(columns)
    with pytest.raises(TypeError, match=f"the reference {words}"):
        pg.compare(columns, events(), rng=0)
    with pytest.raises(TypeError, match=words):
        pg.write_events("a.h5", columns)
    with pytest.raises(pg.SchemaError, match="fields= names no column"):
        fit(events(), fields=[])


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere/{}", "cannot write nowhere/.*there is no folder .*nowhere; create it first"),
        ("file/{}", "is not a folder"),
        ("is_folder.root", "cannot write .*is_folder.root"),
    ],
)
@pytest.mark.usefixtures("run")
def test_targets_are_looked_at_before_the_work(capsys, monkeypatch, target, words):
    """A training that cannot be saved is lost, so the target comes first."""
    pg.write_events("good.h5", events())
    Path("file").write_text("mine")
    Path("is_folder.root").mkdir()
    Path("is_folder.root/mine").write_text("mine")

    def never(*_, **__):
        pytest.fail("worked although the target cannot be written")

    monkeypatch.setattr("physgen.training.loop.Loop.run", never)
    monkeypatch.setattr(pg.Surrogate, "__call__", never)
    monkeypatch.setattr(pg, "compare", never)
    shell_says(capsys, f"train good.h5 --steps 1 -o {target.format('new')}", words)
    shell_says(capsys, f"sample run -n 5 -o {target.format('a.root')}", words)
    shell_says(capsys, f"simulate ising-ring -n 5 -o {target.format('a.root')}", words)
    if "{}" in target:
        shell_says(capsys, f"compare good.h5 good.h5 -o {target.format('a.html')}", words)
    assert Path("file").read_text() == Path("is_folder.root/mine").read_text() == "mine"


@pytest.mark.usefixtures("run")
def test_suffixes_are_looked_at_before_the_work(capsys, monkeypatch):
    pg.write_events("good.h5", events())
    monkeypatch.setattr(pg, "compare", lambda *_, **__: pytest.fail("compared"))
    monkeypatch.setattr(pg.Surrogate, "load", lambda *_, **__: pytest.fail("loaded"))
    shell_says(capsys, "compare good.h5 good.h5 -o a.pdf", "saved as .html, .json or .txt")
    shell_says(capsys, "sample run -n 5 -o a.csv", "does not know the format of 'a.csv'")


def test_a_folder_as_file():
    with pytest.raises(IsADirectoryError, match="it is a folder; add a file name"):
        pg.write_events(".", events())


def test_a_full_disk_keeps_old_events_and_surrogates(run, capsys, monkeypatch):
    """What was written before is intact to the byte, and nothing else is left."""
    pg.write_events("fake.root", events())
    old = {path: path.read_bytes() for path in sorted(run.parent.rglob("*")) if path.is_file()}

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_sync", full)
    words = "no space left while writing .* is as it was before"
    with pytest.raises(OSError, match=words):
        fit(events()).save("run")
    with pytest.raises(OSError, match=words):
        pg.write_events("fake.root", events())
    shell_says(capsys, "sample run -n 5 -o fake.root", words)
    shell_says(capsys, "train fake.root --steps 1 -o run", words)
    found = {path: path.read_bytes() for path in sorted(run.parent.rglob("*")) if path.is_file()}
    assert found == old
    assert len(pg.Surrogate.load("run")(3, rng=0)) == 3


# ---------------------------------------------------------------- surrogates


def change_version(run):
    stored = json.loads((run / "surrogate.json").read_text())
    stored["physgen_surrogate"] += 1
    (run / "surrogate.json").write_text(json.dumps(stored))


def flip_a_bit(run):
    content = bytearray((run / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (run / "weights.safetensors").write_bytes(content)


def change_a_number(run):
    stored = (run / "surrogate.json").read_text()
    (run / "surrogate.json").write_text(stored.replace('"n_events": 200', '"n_events": 201'))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "surrogate.json").unlink(), "run has no surrogate.json"),
        (lambda run: (run / "weights.safetensors").unlink(), "run has no weights.safetensors"),
        (flip_a_bit, "weights.safetensors is not the file .*SHA-256 differs"),
        (change_a_number, "surrogate.json was altered .*SHA-256 differs"),
        (change_version, "format version 2, .* reads up to 1; .*upgrade physgen"),
    ],
)
def test_surrogates_that_cannot_be_loaded(run, capsys, damage, words):
    damage(run)
    with pytest.raises((OSError, ValueError), match=words):
        pg.Surrogate.load("run")
    shell_says(capsys, "sample run -n 5 -o fake.root", words)
    shell_says(capsys, "info run", words)
    assert not Path("fake.root").exists()


def test_a_loss_that_is_nan_is_null_in_the_folder():
    surrogate = fit(events())
    player = next(iter(surrogate.history.losses))
    surrogate.history.validation[player][-1] = float("nan")
    surrogate.save("run")
    text = Path("run/surrogate.json").read_text()
    stored = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert stored["history"]["validation"][player][-1] is None
    loaded = pg.Surrogate.load("run")
    assert np.isnan(loaded.history.validation[player][-1])
    assert "held out nan" in loaded.describe()
