"""The folder of a surrogate: what is in it, and what is said when it is damaged."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen import storage
from physgen.storage import SurrogateFileError

JSON, WEIGHTS = "surrogate.json", "weights.safetensors"


class Own(nn.Module):
    """A module of the user's own, with two layers that share their weight."""

    def __init__(self, n_features):
        super().__init__()
        self.one, self.two = nn.Linear(n_features, n_features), nn.Linear(n_features, n_features)
        self.two.weight = self.one.weight

    def loss(self, x, condition, *, player, rng):
        return (self.one(x) - x).square().mean(dim=1)

    @torch.no_grad()
    def sample(self, n_events, condition, *, rng):
        return self.two(rng.normal(n_events, self.one.in_features))


@dataclass(frozen=True)
class OwnSettings:
    """Settings of the user's own."""

    scale: float = 2.0

    def build(self, spec):
        return Own(spec.n_features)


def events():
    rng = np.random.default_rng(0)
    return pg.Events.from_dict({"x": rng.normal(size=100), "y": rng.exponential(size=100)})


def fit(model=None, rng=1):
    model = model or pg.Diffusion(n_hidden=8, n_blocks=1, n_sampling_steps=3)
    return pg.Surrogate.fit(events(), model, steps=3, rng=rng)


@pytest.fixture(scope="module")
def surrogate():
    return fit()


@pytest.fixture
def folder(surrogate, tmp_path):
    surrogate.save(tmp_path / "run")
    return tmp_path / "run"


def rewrite(folder, change, *, sign=True):
    """Change the description; with a valid checksum, as another version of physgen would."""
    document = json.loads((folder / JSON).read_text())
    change(document)
    if sign:
        content = {
            k: v for k, v in document.items() if k not in ("physgen_surrogate", "content_sha256")
        }
        document["content_sha256"] = storage._digest(content)
    (folder / JSON).write_text(json.dumps(document))


def test_the_folder_holds_two_files_and_no_pickle(folder):
    assert sorted(p.name for p in folder.iterdir()) == [JSON, WEIGHTS]
    # safetensors: eight bytes of length, then JSON; a pickle starts with 0x80
    header = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert "network.last.weight" in json.loads(header[8 : 8 + length])


def test_the_description_is_for_people(folder):
    text = (folder / JSON).read_text()
    assert len(text.splitlines()) > 50
    document = json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert document["physgen_surrogate"] == storage.FORMAT_VERSION
    assert document["model"]["kind"] == "Diffusion"
    assert document["model"]["n_hidden"] == 8
    assert document["preprocessor"]["transforms"]["y"]["kind"] == "Log"
    assert [f["name"] for f in document["schema"]["fields"]] == ["x", "y"]
    assert document["info"]["n_events"] == 100


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda f: (f / JSON).unlink(), FileNotFoundError, f"has no {JSON}; a surrogate folder"),
        (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, f"has no {WEIGHTS}; a surrogate"),
        (lambda f: (f / JSON).write_text("{"), SurrogateFileError, f"{JSON} is damaged: "),
        (lambda f: (f / JSON).write_bytes(b"\xff\xfe"), SurrogateFileError, "is damaged: "),
        (
            lambda f: (f / JSON).write_text("[1]"),
            SurrogateFileError,
            "does not describe a physgen",
        ),
        (lambda f: (f / JSON).write_text("{}"), SurrogateFileError, "does not describe a physgen"),
    ],
)
def test_missing_and_damaged_files(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=message):
        pg.Surrogate.load(folder)


def test_an_altered_description_is_noticed(folder):
    def alter(document):
        document["mean_weight"] = 2.0

    rewrite(folder, alter, sign=False)
    with pytest.raises(SurrogateFileError, match="was altered after it was written"):
        pg.Surrogate.load(folder)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-4], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda _: b""]
)
def test_altered_and_truncated_weights_are_noticed(folder, damage):
    weights = folder / WEIGHTS
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(SurrogateFileError, match=f"{WEIGHTS} is not the file that {JSON}"):
        pg.Surrogate.load(folder)


def test_weights_of_another_training_are_noticed(folder, tmp_path):
    fit(rng=2).save(tmp_path / "other")
    (folder / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    with pytest.raises(SurrogateFileError, match="from another training"):
        pg.Surrogate.load(folder)


def test_a_newer_format_says_to_upgrade(folder):
    def alter(document):
        document["physgen_surrogate"] = storage.FORMAT_VERSION + 1
        document["info"]["versions"]["physgen"] = "9.0"

    rewrite(folder, alter)
    with pytest.raises(SurrogateFileError, match=r"format version 2.*up to 1.*physgen 9\.0: upgr"):
        pg.Surrogate.load(folder)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda d: d["model"].update(kind="Warp"), "unknown model settings 'Warp'"),
        (lambda d: d["model"].update(speed=3), "TypeError: .*speed"),
        (lambda d: d.pop("preprocessor"), "KeyError: 'preprocessor'"),
        (lambda d: d["preprocessor"]["transforms"]["x"].update(kind="Bend"), "transform 'Bend'"),
        (lambda d: d["schema"]["fields"][0].update(role="label"), "has role 'label'"),
        (lambda d: d["model"].update(n_hidden=16), "RuntimeError"),
    ],
)
def test_a_description_that_cannot_be_rebuilt(folder, alter, message):
    """Well signed, but of another version: a sentence, not a traceback."""
    rewrite(folder, alter)
    with pytest.raises(SurrogateFileError, match=f"(?s)this physgen can rebuild.*{message}"):
        pg.Surrogate.load(folder)


def test_paths_that_are_no_surrogate(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no surrogate folder"):
        pg.Surrogate.load(tmp_path / "nope")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file; a surrogate is a folder"):
        pg.Surrogate.load(tmp_path / "file")


def test_a_foreign_folder_is_not_touched(surrogate, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="exists and is not a surrogate folder"):
        surrogate.save(tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"
    (tmp_path / "notes").write_text("more")
    with pytest.raises(FileExistsError):
        surrogate.save(tmp_path / "notes")
    assert (tmp_path / "notes").read_text() == "more"
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        surrogate.save(tmp_path / "no" / "run")


def test_a_surrogate_takes_the_place_of_an_old_one(folder):
    other = fit(rng=2)
    other.save(folder)
    assert pg.Surrogate.load(folder).info["seed"] == 2
    assert [p.name for p in folder.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("when", ["weights", "description", "swap"])
def test_a_failure_in_the_middle_keeps_the_old_one(folder, monkeypatch, when):
    from pathlib import Path

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "swap":
            rename, moved = Path.rename, []

            def second_fails(path, to):
                moved.append(to)
                return full() if len(moved) == 2 else rename(path, to)

            patch.setattr(Path, "rename", second_fails)
        else:
            patch.setattr(Path, "write_bytes" if when == "weights" else "write_text", full)
        with pytest.raises(OSError, match=r"[Nn]o space left"):
            fit(rng=2).save(folder)
    assert pg.Surrogate.load(folder).info["seed"] == 1
    assert [p.name for p in folder.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("model", [Own(2), OwnSettings()])
def test_a_model_of_ones_own_is_loaded_with_its_module(tmp_path, model):
    surrogate = fit(model)
    surrogate.save(tmp_path / "own")
    name = type(model).__qualname__
    with pytest.raises(SurrogateFileError, match=f"{name}, whose code is not stored; build it"):
        pg.Surrogate.load(tmp_path / "own")
    again = pg.Surrogate.load(tmp_path / "own", model=Own(2))
    assert (again(50, rng=1)["x"] == surrogate(50, rng=1)["x"]).all()
    with pytest.raises(SurrogateFileError, match=r"(?s)RuntimeError.*size mismatch"):
        pg.Surrogate.load(tmp_path / "own", model=Own(3))
