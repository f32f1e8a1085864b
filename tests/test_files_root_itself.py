"""ROOT itself opens what physgen writes, and RDataFrame finds the same sums.

Needs ROOT 6.36 or newer: in this interpreter, or in the one that PHYSGEN_ROOT_PYTHON names
(``python -m venv rootvenv && rootvenv/bin/pip install --pre ROOT``).
"""

import importlib.util
import json
import os
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

from physgen.events import Events
from physgen.files import read_events, write_events

INTERPRETER = os.environ.get("PHYSGEN_ROOT_PYTHON") or (
    sys.executable if importlib.util.find_spec("ROOT") else None
)
pytestmark = pytest.mark.skipif(
    INTERPRETER is None, reason="no ROOT here; set PHYSGEN_ROOT_PYTHON to a Python that has it"
)

# sums over events, of every branch and of what an analysis would compute from them
SCRIPT = """
import json, sys, warnings
warnings.simplefilter("ignore")
import ROOT
frame = ROOT.RDataFrame("Events", sys.argv[1])
expressions = json.loads(sys.argv[2])
for name, expression in expressions.items():
    frame = frame.Define(f"_{name}", expression)
sums = {name: frame.Sum(f"_{name}") for name in expressions}
found = {name: pointer.GetValue() for name, pointer in sums.items()}
columns = {str(c): str(frame.GetColumnType(c)) for c in frame.GetColumnNames() if c[0] != "_"}
print(json.dumps({"n": frame.Count().GetValue(), "sums": found, "columns": columns,
                  "version": ROOT.gROOT.GetVersionInt()}))
"""
EXPRESSIONS = {
    "pt": "double(pt)",
    "weighted": "weight * pt",
    "tag": "double(tag)",
    "charge": "double(charge)",
    "large": "double(large % 1000)",
    "voxels": "double(ROOT::VecOps::Sum(ROOT::RVecD(voxels.begin(), voxels.end())))",
    "n_jets": "double(Jet_pt.size())",
    "jets": "ROOT::VecOps::Sum(ROOT::RVecD(Jet_pt.begin(), Jet_pt.end()))",
    "ids": "ROOT::VecOps::Sum(ROOT::RVecD(Jet_id.begin(), Jet_id.end()))",
}


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(3)
    n = 30_000  # more than one basket
    counts = rng.poisson(2, n)
    columns = {
        "pt": rng.exponential(40, n).astype("f4"),
        "weight": rng.choice([-1.0, 1.0, 2.5], n),
        "tag": rng.random(n) < 0.3,
        "charge": rng.choice([-1, 1], n).astype("i1"),
        "large": rng.integers(2**62, 2**63, n, dtype="u8"),
        "voxels": rng.random((n, 5)).astype("f4"),
        "Jet_pt": ak.unflatten(rng.exponential(30, counts.sum()).astype("f4"), counts),
        "Jet_id": ak.unflatten(rng.integers(-5, 6, counts.sum()).astype("i2"), counts),
    }
    found = Events.from_dict(columns)
    return found.replace_schema(found.schema.with_field("weight", role="weight"))


def expected(events):
    pt, weight = events["pt"].astype("f8"), events["weight"]
    return {
        "pt": pt.sum(),
        "weighted": (weight * pt).sum(),
        "tag": events["tag"].sum(),
        "charge": events["charge"].sum(),
        "large": (events["large"] % 1000).sum(),
        "voxels": events["voxels"].sum(dtype="f8"),
        "n_jets": events.multiplicity("Jet_pt").sum(),
        "jets": float(np.sum(ak.flatten(events["Jet_pt"]).to_numpy(), dtype="f8")),
        "ids": float(np.sum(ak.flatten(events["Jet_id"]).to_numpy(), dtype="f8")),
    }


def rdataframe(path, expressions):
    command = [INTERPRETER, "-c", SCRIPT, str(path), json.dumps(expressions)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("rntuple", [False, True], ids=["ttree", "rntuple"])
def test_rdataframe_finds_the_same_sums(tmp_path, events, rntuple):
    write_events(tmp_path / "out.root", events, rntuple=rntuple)
    found = rdataframe(tmp_path / "out.root", EXPRESSIONS)
    assert found["version"] >= 63600
    assert found["n"] == len(events)
    assert found["sums"] == pytest.approx(expected(events), rel=1e-12)
    assert set(events.schema.names) <= set(found["columns"])
    if not rntuple:
        assert found["columns"]["nJet"] == "Int_t"
        assert [name for name in found["columns"] if name.startswith("n")] == ["nJet"]


def test_an_analysis_of_zmumu_runs_on_the_copy(tmp_path):
    """The same code, the same numbers, whether the file is Pythia's or physgen's."""
    events = read_events("data/zmumu.root")
    write_events(tmp_path / "copy.root", events)
    analysis = {
        "mass": "sqrt(2 * mu1_pt * mu2_pt * (cosh(mu1_eta - mu2_eta) - cos(mu1_phi - mu2_phi)))",
        "ht": "double(ROOT::VecOps::Sum(Jet_pt[abs(Jet_eta) < 2.4]))",
        "njet": "double(njet)",
        "counter": "double(nJet)",
    }
    theirs = rdataframe("data/zmumu.root", analysis)
    ours = rdataframe(tmp_path / "copy.root", analysis)
    assert ours["n"] == theirs["n"] == 60_000
    assert ours["sums"] == theirs["sums"]
    assert ours["columns"] == theirs["columns"]
