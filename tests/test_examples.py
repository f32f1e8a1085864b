"""Every script of examples/ runs."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import physgen as pg
from physgen.simulators.ising_exact import torus

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))
HAS_ITS_OWN_TEST = {"ising_phase_transition"}


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.examples
@pytest.mark.parametrize(
    "path", [p for p in EXAMPLES if p.stem not in HAS_ITS_OWN_TEST], ids=lambda p: p.stem
)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    result = load(path).main(["--quick"])
    printed = capsys.readouterr().out
    assert printed
    if hasattr(result, "verdict"):
        assert result.verdict.split(",")[0].split(":")[0] in printed


def test_the_demo_writes_what_the_readme_promises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = load(EXAMPLES[0].parent / "zmumu_surrogate.py").main(["--quick", "--output", "demo"])
    fake = pg.read_events(tmp_path / "demo" / "fake.root")
    assert fake.schema["mu1_pt"].unit == "GeV"
    assert "<html" in (tmp_path / "demo" / "report.html").read_text()
    assert (tmp_path / "demo" / "distributions.png").stat().st_size > 10_000
    assert "dimuon mass" in str(report)


@pytest.mark.examples
def test_the_phase_transition_agrees_with_the_exact_solution(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = EXAMPLES[0].parent / "ising_phase_transition.py"
    tables = load(path).main(["--quick", "--output", "figures/ising.png"])
    assert (tmp_path / "figures" / "ising.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    for n_side, table in tables.items():
        assert str(table) in printed
        exact = torus(n_side, table.beta)
        assert np.abs(table.energy_per_site.pulls(exact.energy_per_site)).max() < 4
        assert np.abs(table.specific_heat.pulls(exact.specific_heat_per_site)).max() < 4.5
