import json
import subprocess
import sys

import numpy as np
import pytest

import physgen as pg
from physgen.report.report import Correlations


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 2, 400))
    x[1, 1] += 0.6
    a, b = (pg.Events.from_dict({"<i>pt": v[0], "eta": v[1], "run": np.ones(400)},
                                units={"<i>pt": "GeV"}) for v in x)  # fmt: skip
    return pg.compare(a, b, rng=0)


def test_json_and_text(report, tmp_path):
    report.save(tmp_path / "report.json")
    report.save(str(tmp_path / "report.txt"))
    stored = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert stored == report.to_dict()
    assert stored["outcome"] == "fail"
    assert (tmp_path / "report.txt").read_text(encoding="utf-8") == str(report) + "\n"


def test_text_is_a_table_with_the_worst_first(report):
    lines = str(report).splitlines()
    assert lines[0].startswith("FAIL: worst eta")
    header = next(k for k, line in enumerate(lines) if line.startswith("observable"))
    assert lines[header + 2].startswith("eta")
    assert max(len(line) for line in lines) <= 130
    widths = {len(line) for line in lines[header + 2 : header + 5]}
    assert len(widths) == 1
    assert "at the resolution of the bins" in " ".join(lines)


def test_an_unknown_suffix_is_refused(report, tmp_path):
    with pytest.raises(ValueError, match=r"\.html, \.json or \.txt, and 'report\.pdf'"):
        report.save(tmp_path / "report.pdf")


def test_a_failed_save_leaves_the_old_file(report, tmp_path, monkeypatch):
    target = tmp_path / "report.json"
    report.save(target)
    before = target.read_text(encoding="utf-8")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    with pytest.raises(OSError, match="space"):
        report.save(target)
    monkeypatch.undo()
    assert target.read_text(encoding="utf-8") == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_physgen_imports_no_plotting_and_no_scikit_learn():
    code = "import physgen, sys; print({'matplotlib', 'sklearn', 'jinja2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_correlations_near_one_are_told_apart():
    def worst(ours, theirs):
        one = np.eye(2)
        matrices = (one + v * (1 - one) for v in (ours, theirs))
        return Correlations(("a", "b"), *matrices, (0, 1), 0.1, 0.1, 0.0, one).worst

    assert worst(0.5, 0.1) == "a and b, 0.50 in the reference and 0.10 in the candidate"
    assert worst(0.9991, 0.9962) == "a and b, 0.999 in the reference and 0.996 in the candidate"
    assert worst(0.5, 0.5).endswith("0.5000 in the reference and 0.5000 in the candidate")
