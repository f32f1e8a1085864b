"""Every script of examples/ runs."""

import importlib.util
from pathlib import Path

import pytest

import physgen as pg

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.examples
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    report = load(path).main(["--quick"])
    assert report.verdict.split(",")[0].split(":")[0] in capsys.readouterr().out


def test_the_demo_writes_what_the_readme_promises(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = load(EXAMPLES[0].parent / "zmumu_surrogate.py").main(["--quick", "--output", "demo"])
    fake = pg.read_events(tmp_path / "demo" / "fake.root")
    assert fake.schema["mu1_pt"].unit == "GeV"
    assert "<html" in (tmp_path / "demo" / "report.html").read_text()
    assert (tmp_path / "demo" / "distributions.png").stat().st_size > 10_000
    assert "dimuon mass" in str(report)
