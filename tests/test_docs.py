"""The pages of docs/: their code runs, the reference is complete, the gallery has notebooks."""

import ast
import functools
import importlib
import inspect
import re
import shlex
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import physgen as pg
from physgen import cli

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
if not DOCS.exists():
    pytest.skip("not in a checkout", allow_module_level=True)
sys.path.append(str(DOCS / "_ext"))

import benchmarks_page  # noqa: E402
import public_names  # noqa: E402

PAGES = sorted(p for p in DOCS.rglob("*.md") if not {"_build", "_generated"} & set(p.parts))
SLOW = {"collapse.md", "jagged.md"}
RUN = [
    pytest.param(page, marks=pytest.mark.slow if page.name in SLOW else ())
    for page in (DOCS / "tutorial.md", *sorted((DOCS / "howto").glob("*.md")))
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page, language):
    return [code for found, code in BLOCK.findall(page.read_text()) if found == language]


def name_of(page):
    return page.relative_to(DOCS).as_posix()


# ---------------------------------------------------------------- code on the pages


def shortened(code):
    """The same with trainings of a few steps and samples of a thousand events."""
    code = re.sub(r'budget="\w+"', "steps=20", code)
    code = re.sub(r"--budget \w+", "--steps 20", re.sub(r"-n \d+", "-n 300", code))
    code = re.sub(r"steps=\d{3,}", "steps=20", code)
    code = code.replace("--model diffusion", "--model diffusion --diffusion.n-hidden 16")
    return re.sub(r"\b\d+_000\b", "1_000", code)


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """An empty folder with the samples, of which 500 events are read; small models."""
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    read, compare = pg.read_events, pg.compare
    monkeypatch.setattr(pg, "read_events", lambda *a, **k: read(*a, **k)[:500])
    small = functools.partial(pg.Diffusion, n_hidden=16, n_blocks=1, n_sampling_steps=4)
    monkeypatch.setattr(pg, "Diffusion", small)
    few = {"n_permutations": 199, "alpha": 0.05, "max_events": 500}
    monkeypatch.setattr(pg, "compare", lambda *a, **k: compare(*a, **few | k))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_code_of_a_page_runs(page):
    namespace = {"__name__": "page"}
    for language, code in BLOCK.findall(page.read_text()):
        if language == "python":
            exec(compile(shortened(code), name_of(page), "exec"), namespace)
        elif language == "sh":
            for line in shortened(code).splitlines():
                assert cli.main(shlex.split(line, comments=True)[1:]) == 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_code_is_python_and_imports_what_there_is(page):
    for code in blocks(page, "python"):
        if code.startswith(">>>"):
            continue
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("physgen"):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "pg":
                assert hasattr(importlib.import_module("physgen"), node.attr), f"pg.{node.attr}"


def test_every_page_can_be_reached():
    linked = "\n".join(page.read_text() for page in PAGES)
    entries = {Path(line).name for line in re.findall(r"^[\w./-]+$", linked, re.MULTILINE)}
    for page in PAGES:
        assert page.name == "index.md" or page.stem in entries, f"{page.name} is in no toctree"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(
        r"\]\(([^)#:\s]+\.(?:md|rst|svg|png|py))(?:#[\w-]*)?\)", page.read_text()
    ):
        assert (
            target.startswith(("_examples", "../_examples", "_generated"))
            or (page.parent / target).exists()
        ), f"{page.name} links to {target}"


# ---------------------------------------------------------------- reference


def listed_names():
    """Names that the pages of docs/api hand to the directive, by module."""
    listed = {}
    for page in (DOCS / "api").glob("*.md"):
        for module, names in re.findall(r"```\{names\} (\S+)\n(.*?)```", page.read_text(), re.S):
            listed.setdefault(module, []).extend(names.split() or public_names.all_of(module))
    return listed


def test_every_public_name_is_in_the_reference():
    listed = listed_names()
    for module in public_names.public_modules():
        for name in public_names.all_of(module):
            home = public_names.home_of(module, name)
            assert name in listed.get(home, ()), f"{module}.{name}: list it in docs/api"


def test_the_reference_names_what_there_is():
    for module, found in listed_names().items():
        assert len(found) == len(set(found)), f"{module} has a name twice"
        for name in found:
            value = public_names.value_of(module, name)
            if public_names.has_docstring(value):
                assert inspect.getdoc(value), f"{module}.{name} says nothing"


def test_a_name_is_at_home_in_one_place():
    assert public_names.home_of("physgen.models", "Diffusion") == "physgen"
    assert public_names.home_of("physgen.models.diffusion", "EDM") == "physgen.models"
    text = "\n".join(public_names.page("physgen.models", ["Diffusion", "EDM"]))
    assert "   ~physgen.Diffusion" in text
    assert "autoclass:: physgen.models.EDM" in text
    assert "autoclass:: physgen.Diffusion" not in text


# ---------------------------------------------------------------- benchmarks


def test_the_page_of_benchmarks_has_every_result():
    page = benchmarks_page.page(REPOSITORY / "benchmarks")
    results = list((REPOSITORY / "benchmarks" / "results").glob("*.json"))
    assert page.count("\n## ") == len(results)
    for section in page.split("\n## ")[1:]:
        assert "*Measured with" in section
        assert "|---|" in section or "|---:|---:|" in section or "{include}" in section
    assert "/tmp" not in page


def test_a_result_that_nobody_has_described_is_shown_whole():
    rows = {"a": {"auc": 0.5123, "steps": 1200}, "b": {"auc": 1.0, "note": "late"}}
    (table,) = benchmarks_page.tables("unknown", rows)
    assert "| a | 0.512 | 1,200 |  |" in table
    assert "| b | 1 |  | late |" in table
    (table,) = benchmarks_page.tables("unknown", {"quality": rows})
    assert table.startswith("quality\n\n")
    assert "| a | 0.512 | 1,200 |  |" in table
    (table,) = benchmarks_page.tables("unknown", [{"case": "x", "seconds": 0.01}])
    assert "| x | 0.01 |" in table


# ---------------------------------------------------------------- figures and notebooks


def test_the_picture_of_the_data_flow_is_an_image():
    root = ET.parse(DOCS / "images" / "dataflow.svg").getroot()
    assert root.get("viewBox")
    words = " ".join(root.itertext())
    for noun in ("Events", "Preprocessor", "GenerativeModel", "Surrogate", "compare", "Simulator"):
        assert noun in words


def cells_of_notebook(script, folder):
    """Code cells of the notebook that the gallery offers for a script."""
    gallery = pytest.importorskip("sphinx_gallery.notebook")
    from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    _, parts = split_code_and_text_blocks(str(script))
    notebook = gallery.jupyter_notebook(parts, dict(DEFAULT_GALLERY_CONF), str(folder))
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


@pytest.mark.examples
@pytest.mark.slow
@pytest.mark.parametrize(
    "script", sorted((REPOSITORY / "examples").glob("*.py")), ids=lambda p: p.stem
)
def test_notebook(script, tmp_path, monkeypatch, capsys):
    """What the gallery offers for download runs cell by cell."""
    cells = cells_of_notebook(script, tmp_path)
    (tmp_path / "data").symlink_to(REPOSITORY / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "--quick"])
    namespace = {"__name__": "__main__", "__file__": str(script), "__doc__": ""}
    for cell in cells:
        exec(compile(cell, script.name, "exec"), namespace)
    assert capsys.readouterr().out
