"""What `physgen compare` takes beside two files: packs of observables, and the scoreboard."""

from pathlib import Path

import numpy as np
import pytest

import physgen as pg
from physgen.cli import main
from physgen.files.binning import Binning, Layer

ZMUMU = Path(__file__).parents[2] / "data" / "zmumu.root"
# a layer without angles beside others: no image, so that no network is trained
BINNING = Binning("electron", tuple(Layer(k, (0.0, 5.0, 10.0), 4 if k else 1) for k in range(3)))


@pytest.fixture(scope="module")
def muons(tmp_path_factory):
    """Two halves of some events with two muons."""
    folder = tmp_path_factory.mktemp("muons")
    events = pg.read_events(ZMUMU, fields=["mu?_pt", "mu?_eta", "mu?_phi"], stop=200)
    for name, part in {"a.h5": events[:100], "b.h5": events[100:]}.items():
        pg.write_events(folder / name, part)
    return f"{folder / 'a.h5'} {folder / 'b.h5'}"


@pytest.fixture(scope="module")
def showers(tmp_path_factory):
    """Two files of showers of one law in the layout of the CaloChallenge, and their binning."""
    folder = tmp_path_factory.mktemp("showers")
    (folder / "binning.xml").write_text(BINNING.to_xml())
    for seed, name in enumerate(("a.h5", "b.h5")):
        rng = np.random.default_rng(seed)
        energies = np.exp(rng.uniform(np.log(1e3), np.log(5e4), 120))
        share = rng.exponential(size=(120, BINNING.n_voxels)) / BINNING.n_voxels
        columns = {"incident_energies": energies, "showers": share * energies[:, None]}
        events = pg.Events.from_dict(columns, units=dict.fromkeys(columns, "MeV"))
        pg.write_events(folder / name, events, layout="calochallenge")
    return f"{folder / 'a.h5'} {folder / 'b.h5'} --binning {folder / 'binning.xml'}"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr("physgen.scoreboard._FPD_BATCHES", (100, 200))
    monkeypatch.setattr("physgen.scoreboard._KPD_BATCH", 100)


@pytest.mark.parametrize(("chosen", "has_mass"), [("pairs", True), ("none", False)])
def test_packs_are_chosen_by_name(muons, capsys, chosen, has_mass):
    assert main(f"compare {muons} --observables {chosen}".split()) == 0
    assert ("m(mu1 mu2)" in capsys.readouterr().out) == has_mass


@pytest.mark.parametrize(
    ("chosen", "words"),
    [("pears", "there are ising, pairs, jets, showers"), ("jets", "particle_eta_rel")],
)
def test_packs_that_do_not_fit_are_told(muons, capsys, chosen, words):
    assert main(f"compare {muons} --observables {chosen}".split()) == 1
    out, err = capsys.readouterr()
    assert words in err
    assert out == ""


def test_the_scoreboard_follows_the_report(showers, capsys):
    command = f"compare {showers} --scoreboard --observables none"
    assert main(command.split()) == 0
    report, _, board = capsys.readouterr().out.partition("\nCaloChallenge scoreboard")
    assert "What this report cannot say" in report
    assert "> this candidate" in board
    assert f"showers of {BINNING.n_voxels} voxels are in no data set of the challenge" in board
    # the verdict decides the exit code, with or without a board: 120 events are too few
    assert main([*command.split(), "--strict"]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--scoreboard", "give their binning XML as --binning"),
        ("--scoreboard --binning other.xml", "has no dataset 'showers'"),
    ],
)
def test_files_without_showers_have_no_scoreboard(muons, capsys, options, words):
    assert main(f"compare {muons} {options}".split()) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error:")
    assert words in err
    assert out == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--tolerance 0.1 --for-events 1000", "give --tolerance or --for-events, not both"),
        ("--chains chain", "no file has a field 'chain' that numbers Markov chains"),
    ],
)
def test_options_that_do_not_go_together_or_are_not_there(muons, capsys, options, words):
    assert main(f"compare {muons} {options}".split()) == 1
    assert words in capsys.readouterr().err


def test_the_scoreboard_needs_both_columns(showers, capsys):
    assert main(f"compare {showers} --scoreboard --fields showers".split()) == 1
    out, err = capsys.readouterr()
    assert "no field 'incident_energies'" in err
    assert out == ""


@pytest.mark.parametrize("n_columns", [80, 100])
def test_help_of_compare_fits_and_hides_what_nobody_types(n_columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(n_columns))
    assert main(["compare", "--help"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= n_columns
    assert "--scoreboard" in out
    # lines may break anywhere
    assert "ising, pairs, jets" in " ".join(out.replace("│", " ").split())
    assert "--no-" not in out
    assert "--empty-" not in out
