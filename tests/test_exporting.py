"""Exported files: the same events as the surrogate, the card, the guard, errors."""

import json
import sys
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import torch
from torch import nn

import physgen as pg
from physgen.cli import main
from physgen.exporting import ExportError, OnnxGenerator, load_card
from physgen.exporting.card import draws_of
from physgen.exporting.graph import IN_RANGE, SurrogateGraph
from physgen.exporting.noise import Draw, NoiseInputs, NotedRandom, philox_noise
from physgen.exporting.programs import write_onnx
from physgen.models import EDM
from physgen.random import PhiloxRandom

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")

N = 300


def padded(column, like):
    if isinstance(column, np.ndarray):
        return column
    return ak.to_numpy(ak.fill_none(ak.pad_none(column, like.shape[1], clip=True), 0))


def assert_same(made, events, tolerance=1e-5):
    """Each number to 1e-5 of its size or the width of its column, but one in a thousand.

    An integer, an angle or a threshold at its edge goes one way or the other by the last bit.
    """
    for name, values in made.items():
        expected = padded(events[name], values).astype(np.float64)
        assert values.dtype == np.dtype(events.schema[name].dtype)
        scale = np.abs(expected) + expected.std()
        same = np.abs(values.astype(np.float64) - expected) <= tolerance * scale
        assert same.mean() > 0.999, name


def mixed(n):
    """Columns of many kinds, with two conditions, one a category of which the model draws."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=n)
    energy = np.exp(rng.normal(3, 0.5, n)).astype(np.float32)
    kind = rng.choice([11, 13, 22], n).astype(np.int32)
    counts = rng.integers(0, 4, n)
    low = energy * rng.uniform(0.1, 0.9, n)
    cells = energy[:, None, None] * rng.exponential(size=(n, 2, 3)) ** 3
    events = pg.Events.from_dict(
        {
            "energy": energy, "kind": kind, "x": x, "phi": rng.uniform(-np.pi, np.pi, n),
            "charge": rng.choice([-1, 1], n).astype(np.int8), "level": rng.integers(0, 40, n),
            "ht": np.where(counts == 0, 0.0, np.exp(x) * (1 + counts)), "sub": low,
            "cells": np.where(cells < 1, 0, cells).astype(np.float32),
            "pt": ak.unflatten(rng.exponential(size=counts.sum()) + 5, counts),
            "weight": rng.uniform(0.5, 1.5, n),
        },
        units={"energy": "GeV", "phi": "rad", "cells": "MeV"},
    )  # fmt: skip
    return pg.Events(events.schema.with_field("weight", role="weight"), events.to_dict())


@pytest.fixture(scope="module")
def surrogate():
    return pg.Surrogate.fit(
        mixed(2000), pg.GAN(n_hidden=16), conditions=["energy", "kind"], steps=30, rng=1
    )


@pytest.fixture(scope="module")
def conditions():
    events = mixed(N)
    return {"energy": events["energy"], "kind": events["kind"]}


@pytest.fixture(scope="module")
def exported(surrogate, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "gan.onnx"
    pg.export(surrogate, path, validation={"auc": 0.61})
    return path


@pytest.fixture(scope="module")
def generator(exported):
    return OnnxGenerator(exported)


def test_onnxruntime_makes_the_events_of_the_surrogate(surrogate, generator, conditions):
    events = surrogate(N, conditions, rng=3)
    made = generator(N, conditions, rng=3)
    assert set(made) - {"n(pt)"} == set(events.schema.names) - set(conditions)
    counts = made.pop("n(pt)")
    assert np.mean(counts == ak.to_numpy(ak.num(events["pt"]))) > 0.999
    assert_same(made, events)
    # the control: other noise makes other events
    other = generator(N, conditions, rng=4)
    other.pop("n(pt)")
    with pytest.raises(AssertionError):
        assert_same(other, events)


def test_an_event_does_not_depend_on_the_batch(generator, conditions):
    whole = generator(N, conditions, rng=3)
    one = generator(1, {n: values[:1] for n, values in conditions.items()}, rng=3)
    for name, values in one.items():
        np.testing.assert_allclose(values[0], whole[name][0], rtol=1e-5, atol=1e-5)


def test_the_graph_in_torch(surrogate, conditions):
    graph = SurrogateGraph(surrogate, {})
    noise = philox_noise(graph.draws, 3, np.arange(N))
    inputs = {n: v.astype(np.float64) for n, v in conditions.items()} | noise
    with torch.no_grad():
        made = graph(*(torch.from_numpy(inputs[n]) for n in graph.input_names))
    columns = {n: v.detach().numpy() for n, v in made.items() if n not in (IN_RANGE, "n(pt)")}
    assert_same(columns, surrogate(N, conditions, rng=3))
    assert made[IN_RANGE].all()


FAMILIES = {
    "vae": pg.VAE(n_latent=2, n_hidden=16),
    "heun": pg.Diffusion(n_sampling_steps=2, path=EDM(sigma_max=3.0)),
    "ancestral": pg.Diffusion(n_sampling_steps=2, sampler="ancestral", path=EDM(sigma_max=3.0)),
    "dpm": pg.Diffusion(n_sampling_steps=3, sampler="dpm", path=EDM(sigma_max=3.0)),
}


def fitted(model):
    rng = np.random.default_rng(1)
    energy = np.exp(rng.normal(3, 0.5, 1000))
    events = pg.Events.from_dict({"energy": energy, "x": rng.normal(size=1000) * energy})
    return pg.Surrogate.fit(events, model, conditions=["energy"], steps=20, rng=1), energy[:N]


def cases(*in_ci):
    """A trace takes seconds: a few of them with every change, all in the slow run."""
    return [pytest.param(f, marks=() if f in in_ci else pytest.mark.slow) for f in FAMILIES]


@pytest.mark.parametrize("family", cases("vae", "dpm"))
def test_families_as_pt2(family, tmp_path):
    surrogate, energy = fitted(FAMILIES[family])
    card = pg.export(surrogate, tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    inputs = {"energy": energy, **philox_noise(draws_of(card), 3, np.arange(N))}
    made = program(*(torch.from_numpy(inputs[entry["name"]]) for entry in card["inputs"]))
    assert_same({"x": made["x"].detach().numpy()}, surrogate(N, {"energy": energy}, rng=3))


@pytest.mark.parametrize("family", cases())
def test_families_as_onnx(family, tmp_path):
    surrogate, energy = fitted(FAMILIES[family])
    pg.export(surrogate, tmp_path / "model.onnx")
    made = OnnxGenerator(tmp_path / "model.onnx")(N, {"energy": energy}, rng=3)
    assert_same(made, surrogate(N, {"energy": energy}, rng=3))


def test_effort_goes_into_the_graph(tmp_path):
    events = pg.Events.from_dict({"x": np.random.default_rng(1).normal(size=500)})
    surrogate = pg.Surrogate.fit(events, pg.Diffusion(), steps=10, rng=1)
    card = pg.export(surrogate, tmp_path / "few.pt2", n_steps=1)
    assert card["effort"] == {"n_steps": 1}
    program = torch.export.load(tmp_path / "few.pt2").module()
    noise = philox_noise(SurrogateGraph(surrogate, {"n_steps": 1}).draws, 3, np.arange(5))
    made = program(torch.from_numpy(noise["normal"]))
    assert_same({"x": made["x"].detach().numpy()}, surrogate(5, rng=3, n_steps=1))
    with pytest.raises(TypeError, match="does not take 'n_stepz'"):
        pg.export(surrogate, tmp_path / "few.pt2", n_stepz=1)


def test_pt2_runs_with_one_event_and_many(tmp_path):
    surrogate, energy = fitted(pg.GAN(n_hidden=4))
    pg.export(surrogate, tmp_path / "gan.pt2")
    card = load_card(tmp_path / "gan.pt2")
    extra = {"card.json": ""}
    program = torch.export.load(tmp_path / "gan.pt2", extra_files=extra).module()
    assert json.loads(extra["card.json"])["inputs"] == card["inputs"]
    for n in (1, N):
        given = {"energy": energy[:n], **philox_noise(draws_of(card), 3, np.arange(n))}
        made = program(*(torch.from_numpy(given[e["name"]]) for e in card["inputs"]))
        events = surrogate(n, {"energy": energy[:n]}, rng=3)
        np.testing.assert_allclose(made["x"].detach(), events["x"], rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- the card


def test_the_card(surrogate, exported):
    card = load_card(exported)
    assert json.loads(exported.with_suffix(".json").read_text()) == card
    by_name = {entry["name"]: entry for entry in card["inputs"]}
    energy = by_name["energy"]
    assert (energy["unit"], energy["dtype"], energy["shape"]) == ("GeV", "float64", ["batch"])
    assert (energy["low"], energy["high"]) == surrogate.conditions.ranges["energy"]
    assert by_name["kind"]["values"] == [11.0, 13.0, 22.0]
    assert "standard normal" in by_name["normal"]["law"]
    assert by_name["uniform"]["shape"][1] >= 3  # the blur of three categories
    outputs = {entry["name"]: entry for entry in card["outputs"]}
    assert outputs["cells"]["shape"] == ["batch", 2, 3]
    assert outputs["cells"]["unit"] == "MeV"
    assert outputs["pt"] | {"multiplicity": "n(pt)", "shape": ["batch", 3]} == outputs["pt"]
    assert outputs["weight"]["dtype"] == "float64"
    assert outputs[IN_RANGE]["dtype"] == "bool"
    assert card["trained"]["seed"] == 1
    assert card["trained"]["events_sha256"] == surrogate.info["events_sha256"]
    assert card["trained"]["validation"] == {"auc": 0.61}
    assert card["file"]["opset"] == 20
    assert card["made_with"]["physgen"] == pg.__version__


def test_the_example_of_a_condition_of_many_integers_has_integers(tmp_path):
    rng = np.random.default_rng(1)
    run = rng.integers(0, 100_000, 500).astype(np.int32)
    events = pg.Events.from_dict({"x": run / 1e5 + rng.normal(size=500), "run": run})
    surrogate = pg.Surrogate.fit(events, pg.GAN(n_hidden=4), conditions=["run"], steps=2, rng=1)
    graph = SurrogateGraph(surrogate, {})
    example = graph.example_inputs(200, 3)
    assert (example["run"] == np.rint(example["run"])).all()
    assert run.min() <= example["run"].min() < example["run"].max() <= run.max()
    assert pg.export(surrogate, tmp_path / "a.pt2")["example"]
    made = graph(*(torch.from_numpy(example[name]) for name in graph.input_names))
    assert made[IN_RANGE].all()
    example["run"] = example["run"] + 0.25
    made = graph(*(torch.from_numpy(example[name]) for name in graph.input_names))
    assert not made[IN_RANGE].any()


def test_the_example_of_the_card(generator):
    example = generator.card["example"]
    made = generator.run({n: np.array(v) for n, v in example["inputs"].items()})
    for name, values in made.items():
        np.testing.assert_allclose(values, example["outputs"][name], rtol=1e-4, atol=1e-5)


def test_the_card_is_inside_the_file_too(exported):
    import onnx

    model = onnx.load(exported)
    inside = {entry.key: entry.value for entry in model.metadata_props}
    card = load_card(exported)
    assert json.loads(inside["physgen.card"])["inputs"] == card["inputs"]
    low, high = map(float, inside["physgen.range.energy"].split())
    assert (low, high) == (card["inputs"][0]["low"], card["inputs"][0]["high"])
    flat = np.array(card["example"]["outputs"]["cells"]).reshape(-1)
    found = np.array([float(word) for word in inside["physgen.example.cells"].split()])
    assert (found == flat).all()
    assert not [n.op_type for n in model.graph.node if n.op_type.startswith("Random")]
    assert model.opset_import[0].version == 20


def test_a_card_of_another_file_is_noticed(exported, tmp_path):
    (tmp_path / "a.onnx").write_bytes(exported.read_bytes() + b"0")
    (tmp_path / "a.json").write_text(exported.with_suffix(".json").read_text())
    with pytest.raises(ValueError, match=r"a.onnx is not the file that a.json describes"):
        load_card(tmp_path / "a.onnx")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a model card"):
        load_card(tmp_path / "a.onnx")
    (tmp_path / "a.json").write_text('{"physgen_card": 99}')
    with pytest.raises(ValueError, match="upgrade physgen"):
        load_card(tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError, match="copy both"):
        load_card(tmp_path / "b.onnx")


# ---------------------------------------------------------------- the guard


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"energy": 1e9}, r"of 1 of 5 events .*energy = 1e\+09.*'energy' in .* GeV"),
        ({"kind": 12}, r"'kind' in \{11, 13, 22\}"),
        ({"kind": 11.5}, "kind = 11.5"),
    ],
)
def test_out_of_range(generator, conditions, changes, words):
    given = {n: values[:5].astype(np.float64) for n, values in conditions.items()}
    generator(5, given, rng=1)
    for name, value in changes.items():
        given[name][2] = value
    with pytest.raises(pg.ConditionError, match=words):
        generator(5, given, rng=1)
    assert len(generator(5, given, rng=1, extrapolate=True)["x"]) == 5


def test_wrong_inputs(generator, conditions):
    given = {n: values[:5] for n, values in conditions.items()}
    with pytest.raises(pg.ConditionError, match=r"wants 'energy' \[GeV\] of shape \(batch\), got"):
        generator(5, {**given, "energy": given["energy"][:, None]}, rng=1)
    with pytest.raises(pg.ConditionError, match=r"'kind' of shape .batch., float64; it was not"):
        generator(5, {"energy": given["energy"]}, rng=1)
    with pytest.raises(pg.ConditionError, match=r"no field 'energi'.*did you mean 'energy'"):
        generator(5, {**given, "energi": 1.0}, rng=1)
    with pytest.raises(pg.ConditionError, match="different numbers of events"):
        generator(5, {**given, "energy": given["energy"][:4]}, rng=1)
    with pytest.raises(pg.ConditionError, match="finite numbers"):
        generator(5, {**given, "energy": np.nan}, rng=1)
    noise = {"normal": np.zeros((5, 2)), "uniform": np.zeros((5, 2))}
    with pytest.raises(pg.ConditionError, match=r"wants 'normal' of shape \(batch, 96\), got"):
        generator.run({**given, **noise})


# ---------------------------------------------------------------- what cannot be exported


def spins():
    return pg.Events.from_dict(
        {"s": np.random.default_rng(1).choice([-1, 1], (50, 4)).astype(np.int8)}
    )


@pytest.mark.parametrize("model", [pg.RBM(n_hidden=2), pg.EBM()], ids=["RBM", "EBM"])
def test_markov_chains_are_refused(model, tmp_path):
    surrogate = pg.Surrogate.fit(spins(), model, steps=2, rng=1)
    with pytest.raises(ExportError, match=r"Markov chains.*train a GAN"):
        pg.export(surrogate, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


class Own(torch.nn.Module):
    """A module of the user's own: one Gaussian."""

    def __init__(self, branch=False):
        super().__init__()
        self.scale, self.branch = torch.nn.Parameter(torch.ones(1)), branch

    def players(self):
        return {"all": torch.optim.Adam(self.parameters())}

    def loss(self, x, condition, *, player, rng):
        return (x / self.scale).square().sum(1) / 2 + self.scale.log()

    def sample(self, n_events, condition, *, rng):
        x = rng.normal(n_events, 1) * self.scale.detach()
        if self.branch and x.sum() > 0:
            return -x
        return x[: len(x)]


def test_a_module_of_the_users_own(tmp_path):
    events = pg.Events.from_dict({"x": np.random.default_rng(1).normal(size=500)})
    surrogate = pg.Surrogate.fit(events, Own(), steps=5, rng=1)
    pg.export(surrogate, tmp_path / "own.onnx")
    made = OnnxGenerator(tmp_path / "own.onnx")(20, rng=3)
    assert_same(made, surrogate(20, rng=3))
    surrogate = pg.Surrogate.fit(events, Own(branch=True), steps=5, rng=1)
    with pytest.raises(ExportError, match=r"sample of Own cannot be traced.*must not branch"):
        pg.export(surrogate, tmp_path / "branch.onnx")
    assert not (tmp_path / "branch.onnx").exists()


def test_bad_arguments(surrogate, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"must end with .onnx or .pt2"):
        pg.export(surrogate, tmp_path / "a.pb")
    with pytest.raises(ValueError, match="opset must be 18, 19 or 20, got 12"):
        pg.export(surrogate, tmp_path / "a.onnx", opset=12)
    with pytest.raises(FileNotFoundError, match="create it first"):
        pg.export(surrogate, tmp_path / "no" / "a.onnx")
    with pytest.raises(ValueError, match=r"no .onnx file; load a .pt2 file with"):
        OnnxGenerator(tmp_path / "a.pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'physgen\[onnx\]'"):
        pg.export(surrogate, tmp_path / "a.onnx")


def test_what_onnx_cannot_hold_is_refused(surrogate, tmp_path, monkeypatch):
    huge = SimpleNamespace(state_dict={"w": torch.empty(3, 250_000_000, device="meta")})
    with pytest.raises(ExportError, match=r"take 3.0 GB, and an ONNX file holds 2 GB; .* .pt2"):
        write_onnx(huge, tmp_path / "a.onnx", inputs=[], outputs=[], opset=18, metadata={})

    def export(*_, **__):
        raise torch.onnx.OnnxExporterError("\n No ONNX function found for aten.foo.\nmore")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(ExportError, match=r"no ONNX version: No ONNX function .* aten.foo;"):
        pg.export(surrogate, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


class Still(nn.Module):
    """All events are the same."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def loss(self, x, condition, *, player, rng):
        return (x - self.value).square().mean(1)

    def sample(self, n_events, condition, *, rng):
        return self.value.expand(n_events, 1)


def test_a_model_that_always_makes_one_event_is_refused(tmp_path):
    events = pg.Events.from_dict({"x": np.random.default_rng(1).normal(size=100)})
    surrogate = pg.Surrogate.fit(events, Still(), steps=2, rng=1)
    with pytest.raises(ExportError, match="draws no random numbers and has no conditions"):
        pg.export(surrogate, tmp_path / "a.pt2")


def test_a_column_with_a_name_of_ours_is_refused(tmp_path):
    events = pg.Events.from_dict({"normal": np.random.default_rng(1).normal(size=100)})
    surrogate = pg.Surrogate.fit(events, pg.GAN(n_hidden=4), steps=2, rng=1)
    with pytest.raises(ExportError, match="column 'normal' has a name that every exported"):
        pg.export(surrogate, tmp_path / "a.pt2")


# ---------------------------------------------------------------- noise, shell


def test_noise_is_what_the_model_drew():
    draws = []
    rng = NotedRandom(PhiloxRandom(5, torch.arange(7)), 0, draws)
    first, second, third = rng.normal(7, 3), rng.uniform(7), rng.normal(7, 2, 2)
    assert draws == [Draw("normal", 0, (3,)), Draw("uniform", 0, ()), Draw("normal", 0, (2, 2))]
    noise = {k: torch.from_numpy(v) for k, v in philox_noise(draws, 5, np.arange(7)).items()}
    again = NoiseInputs(draws, noise)
    assert torch.equal(again.normal(7, 3), first)
    assert torch.equal(again.uniform(7), second)
    assert torch.equal(again.normal(7, 2, 2), third)
    with pytest.raises(RuntimeError, match="asks for normal numbers"):
        again.normal(7, 1)


def test_the_shell(tmp_path, capsys):
    surrogate, _ = fitted(pg.GAN(n_hidden=4))
    surrogate.save(tmp_path / "run")
    (tmp_path / "report.json").write_text('{"outcome": "pass"}')
    words = f"export {tmp_path}/run -o {tmp_path}/gan.pt2 --report {tmp_path}/report.json"
    assert main(words.split()) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path}/gan.pt2: ")
    assert "  in  energy: float64 (batch)\n" in said.out
    assert "  out x: float64 (batch)\n" in said.out
    assert said.out.endswith("card: gan.pt2.json\n")
    assert said.err == ""
    assert load_card(tmp_path / "gan.pt2")["trained"]["validation"] == {"outcome": "pass"}
    assert main(f"export {tmp_path}/run -o {tmp_path}/gan.txt".split()) == 1
    assert "must end with .onnx or .pt2" in capsys.readouterr().err
