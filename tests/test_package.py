"""The package as a whole: public names, cost of the import, direction of imports, habits."""

import ast
import graphlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import physgen as pg

PACKAGE = Path(pg.__file__).parent
MODULES = {
    ".".join(("physgen", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent.name != "chapters"  # scripts: to be run, not imported
}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def test_public_names():
    public = [
        "EBM",
        "GAN",
        "RBM",
        "VAE",
        "ConditionError",
        "Diffusion",
        "Events",
        "Field",
        "History",
        "MaskedDiffusion",
        "Progress",
        "Schema",
        "SchemaError",
        "Simulator",
        "Surrogate",
        "TrainingConfig",
        "TrainingError",
        "benchmark",
        "citation",
        "compare",
        "concatenate",
        "describe",
        "distill",
        "export",
        "iter_events",
        "observables",
        "posterior",
        "read_events",
        "refine",
        "stream",
        "write_events",
    ]
    assert pg.__all__ == public
    assert pg.__all__ == sorted(pg.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n))
    for name in public:
        assert getattr(pg, name).__doc__


def test_all_says_what_there_is():
    for name in MODULES:
        module = __import__(name, fromlist=["__all__"]) if name != "physgen.__main__" else pg
        for public in getattr(module, "__all__", ()):
            assert hasattr(module, public), f"{name}.{public}"


def test_the_version_is_the_one_of_the_project():
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("not in a checkout")
    assert pg.__version__ == tomllib.loads(project.read_text())["project"]["version"]


# ---------------------------------------------------------------- the import

HEAVY = {
    "matplotlib", "uproot", "awkward", "sklearn", "numba", "h5py", "scipy", "hist", "rich",
    "boost_histogram", "cyclopts", "jinja2", "onnx", "pandas",
}  # fmt: skip

MEASURE = """
import sys, time
start = time.process_time()
import torch
middle = time.process_time()
import physgen
modules = {m.split(".")[0] for m in sys.modules}
print(middle - start, time.process_time() - middle, *modules)
"""


def test_the_import_is_light():
    # beside that of torch in the same process: a busy machine is slower with both
    shares = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", MEASURE], check=True, capture_output=True, text=True
        )
        of_torch, of_physgen, *modules = done.stdout.split()
        assert not HEAVY & set(modules)
        shares.append(float(of_physgen) / float(of_torch))
        if shares[-1] < 0.3:
            return
    assert min(shares) < 0.3


# ---------------------------------------------------------------- direction of imports


def imports_of(name, *, lazy=True):
    """Modules of ours that a module imports; ``lazy`` includes those inside functions."""
    found = set()
    tree = TREES[name]
    nodes = ast.walk(tree) if lazy else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write the whole name of a module of ours"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else node.module)
    return {module for module in found if module == "physgen" or module.startswith("physgen.")}


def part_of(module):
    """The part of the package (a file or folder right under it) that a module belongs to."""
    return module.split(".")[1] if "." in module else "physgen"


# what each part may import; "physgen" is the package itself, for its version
ALLOWED = {
    "schema": set(),
    "random": set(),
    "columns": {"schema"},
    "events": {"columns", "random", "schema"},
    "files": {"events", "schema"},
    "transforms": {"random"},
    "checks": set(),
    "tensor_spec": set(),
    "networks": {"checks", "random", "tensor_spec"},
    "mcmc": {"random"},
    "models": {"checks", "mcmc", "networks", "random", "tensor_spec"},
    "training": {"files", "random"},
    "preprocessing": {"events", "files", "random", "schema", "tensor_spec", "transforms"},
    "storage": {"files", "models", "physgen"},
    "shards": set(),
    "simulator": {"events", "random", "schema"},
    "simulators": {"events", "mcmc", "random", "schema", "shards"},
    "estimates": set(),
    "thermodynamics": {
        "columns",
        "events",
        "mcmc",
        "metrics",
        "observables",
        "schema",
    },
}
# parts whose imports are only limited in what they must not touch
FORBIDDEN = {
    "metrics": {"files", "models", "training", "surrogate", "cli"},
    "observables": {"files", "models", "training", "surrogate", "cli"},
    "surrogate": {"metrics", "validation", "report", "plotting", "cli"},
    "validation": {"models", "training", "surrogate", "cli"},
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module):
    part = part_of(module)
    used = {part_of(other) for other in imports_of(module)} - {part}
    if part in ALLOWED:
        assert used <= ALLOWED[part], f"{module} imports {used - ALLOWED[part]}"
    assert not used & FORBIDDEN.get(part, set())
    if part not in ("cli", "__main__"):
        assert "cli" not in used


def test_no_import_goes_in_a_circle():
    graph = {name: imports_of(name, lazy=False) - {name} for name in MODULES}
    whole = {name for name, used in graph.items() if "physgen" in used}
    assert whole <= {"physgen.cli", "physgen.__main__"}, (
        "they import the package that imports them"
    )
    graphlib.TopologicalSorter(graph).prepare()


# ---------------------------------------------------------------- habits


# objects with a state of their own; everything else under np.random is the global one
GENERATORS = {
    f"np.random.{name}" for name in ("default_rng", "Generator", "Philox", "SFC64", "SeedSequence")
}


def calls_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


@pytest.mark.parametrize("module", MODULES)
def test_habits(module):
    for call, line in calls_of(TREES[module]):
        assert call not in {"torch.manual_seed", "torch.seed", "np.random.seed", "random.seed"}, (
            f"{module}:{line} moves a global generator"
        )
        assert not call.startswith("pickle."), f"{module}:{line} pickles"
        assert call != "torch.load", f"{module}:{line} reads a pickle"
        if call.startswith("np.random."):
            assert call in GENERATORS, f"{module}:{line} is not a generator of its own"
        if call == "print":
            assert part_of(module) == "cli", f"{module}:{line} prints"
    for node in ast.walk(TREES[module]):
        assert not isinstance(node, ast.Assert), f"{module}:{node.lineno} has a bare assert"


def test_modules_are_short():
    """Half of the modules below 250 lines, and none above 500."""
    lengths = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
    assert max(lengths.values()) <= 500, max(lengths, key=lengths.get)
    assert sorted(lengths.values())[len(lengths) // 2] <= 250


def test_nothing_in_the_package_names_a_place_of_its_own():
    for name, path in MODULES.items():
        for place in ("/home/", "/root/", "/tmp/", "/Users/"):
            assert place not in path.read_text(), f"{name} names {place}"
