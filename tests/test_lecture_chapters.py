"""Every chapter of the lecture runs, is short, and has a page with its figures."""

import ast
import runpy
import struct
import sys
from pathlib import Path

import pytest

from physgen.lectures import CHAPTERS, chapter_path

PAGES = Path(__file__).parents[1] / "docs" / "lecture"
FIGURES = PAGES.parent / "images" / "lecture"
WITHOUT_DIGITS = ("divergences", "equilibrium", "physics")


def run(name, folder, monkeypatch, *, data=None):
    """Run the script as the shell does, quick, and return what its variables hold."""
    arguments = ["--quick", "-o", str(folder)]
    arguments += ["--data", str(data)] if data is not None else []
    path = str(chapter_path(name))
    monkeypatch.setattr(sys, "argv", [path, *arguments])
    return runpy.run_path(path, run_name="__main__")


def size(path):
    """Width and height of a PNG file."""
    return struct.unpack(">II", path.read_bytes()[16:24])


@pytest.mark.parametrize("name", CHAPTERS)
def test_chapters_run(name, tmp_path, monkeypatch, capsys, request):
    data = None if name in WITHOUT_DIGITS else request.getfixturevalue("shared_data") / "mnist"
    if data is not None and not data.is_dir():
        pytest.skip("no folder mnist among the large samples: set PHYSGEN_DATA")
    found = run(name, tmp_path, monkeypatch, data=data)
    figures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert figures == sorted(path.name for path in FIGURES.glob(f"{name}*.png"))
    printed = capsys.readouterr().out
    assert printed
    assert "nan" not in printed
    check = CHECKS.get(name)
    if check is not None:
        check(found)


def energy_is_exact(found):
    assert found["largest"] < 1e-6
    assert 5 < found["pulls"].square().sum() < 47  # 21 degrees of freedom, 0.1 % on either side
    assert found["distance"][0] == pytest.approx(1)
    assert found["distance"][1] > 5 * found["distance"][-1]  # CD-1 is biased


def divergences_agree(found):
    kl, p, q = found["kl"], found["p"], found["q"]
    assert kl(p, q) == pytest.approx(found["exact"], abs=1e-6)
    assert kl(q, p) > 2 * kl(p, q)


def elbo_and_gap_add_up(found):
    gaps, bounds = found["gaps"], found["bounds"]
    assert bounds[-1] + gaps[-1] == pytest.approx(found["log_p"], abs=4 * found["error"])
    assert gaps[0] > 10
    assert max(bounds) < found["log_p"] + 4 * found["error"]


def gain_stays_below(found):
    gains, best = found["gains"], found["best"]
    assert max(gains) <= best
    assert gains[-1] == pytest.approx(best, abs=0.01)
    assert gains[0] < best - 0.2


def noise_goes_both_ways(found):
    assert abs(float(found["pull"].mean())) < 4 / 20_000**0.5
    assert float((found["log_p"] - found["exact"]).abs().max()) < 0.1
    assert abs(float((found["x"] < 0).float().mean()) - float(found["truth"])) < 0.02
    completed, given = found["rows"][2], found["rows"][0]
    assert (completed[:, :7] == given[:, :7]).all()


CHECKS = {
    "energy": energy_is_exact,
    "divergences": divergences_agree,
    "vae": elbo_and_gap_add_up,
    "equilibrium": gain_stays_below,
    "diffusion": noise_goes_both_ways,
}


def lines_of_code(text):
    """Lines that are not blank, a comment or a docstring."""
    words = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return [
        text
        for number, text in lines
        if text.strip() and not text.strip().startswith("#") and number not in words
    ]


@pytest.mark.parametrize("name", CHAPTERS)
def test_scripts_are_short_and_begin_alike(name):
    text = chapter_path(name).read_text()
    code = lines_of_code(text)
    assert len(code) <= 80
    assert "run = chapter()" in code
    assert text.startswith('"""\n')
    assert "# %%" in text


def test_every_chapter_has_a_script_and_a_page():
    scripts = {path.stem for path in chapter_path("gan").parent.glob("*.py")}
    assert scripts == set(CHAPTERS)
    if not PAGES.is_dir():
        pytest.skip("not in a checkout")
    assert {path.stem for path in PAGES.glob("*.md")} == {"index", *CHAPTERS}
    for name in CHAPTERS:
        assert f"physgen lecture {name}" in (PAGES / f"{name}.md").read_text()


def test_pages_show_every_figure_and_figures_are_light():
    if not PAGES.is_dir():
        pytest.skip("not in a checkout")
    pages = {path.stem: path.read_text() for path in PAGES.glob("*.md")}
    for path in FIGURES.glob("*.png"):
        owner = max((name for name in CHAPTERS if path.stem.startswith(name)), key=len)
        assert f"../images/lecture/{path.name}" in pages[owner]
        assert path.stat().st_size < 150_000
        assert min(size(path)) > 100


def test_counting_lines():
    text = '"""Title\n\nwords\n"""\n\n# %%\nx = 1\n\n\ndef f():\n    """Say."""\n    return x\n'
    assert lines_of_code(text) == ["x = 1", "def f():", "    return x"]
