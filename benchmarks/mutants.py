"""Faults put into physgen.metrics and physgen.mcmc one at a time, and whether the tests see them.

python benchmarks/mutants.py [--minutes 35] [--seed 1] [--only physgen/mcmc/paths.py:31] [--again]

A mutant differs from the package in one place: an operator, a constant, a condition, what is
returned, or a statement that is gone. Mutants are taken in random order until the time is over,
and each is judged by the tests of its package and its doctests that run the line, the fastest
first, in a process forked from this one. All happens in a copy; see docs/reliability.md. Survivors
are read, and tests written; ``--again`` judges them once more.
"""

import argparse
import ast
import copy
import gc
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "mutants.json"
FOLDERS = ("metrics", "mcmc")
SECONDS = 10  # of tests for one mutant: general lines are run by minutes of them
BROKEN = 70  # exit code of a process that never came to its tests
SWAPS = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.Mult,), ast.Pow: (ast.Mult,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,), ast.Or: (ast.And,),
}  # fmt: skip


def changed(node, **fields):
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return ast.unparse(new)


def faults(node):
    """What could stand in the place of this node, as source."""
    match node:
        case ast.Compare(ops=[op]):
            return [changed(node, ops=[new()]) for new in SWAPS[type(op)]]
        case ast.BinOp(op=op) | ast.AugAssign(op=op) | ast.BoolOp(op=op):
            return [changed(node, op=new()) for new in SWAPS.get(type(op), ())]
        case ast.UnaryOp(op=ast.USub() | ast.Not()):
            return [ast.unparse(node.operand)]
        case ast.Constant(value=bool(value)):
            return [str(not value)]
        case ast.Constant(value=int(value) | float(value)):
            return [repr(value + 1)]
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            return ["return None"]
        case ast.Expr(value=ast.Call()) | ast.Raise() | ast.Continue() | ast.Break():
            return ["pass"]
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            return ["pass"]
    return []


def conditions(node):
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield node.test
    elif isinstance(node, ast.comprehension):
        yield from node.ifs


def inner(node):
    """The children in which a fault would matter: no annotations, decorators or texts."""
    skip = {"annotation", "returns", "decorator_list"}
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    for name, value in ast.iter_fields(node):
        if name not in skip:
            yield from (v for v in (value if isinstance(value, list) else [value]))


def mutants(path):
    """Each fault of a module: its place, what stood there, what stands there, lines run by it."""
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def fault(node, new, first):
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        new = f"({new})" if isinstance(node, ast.expr) else new
        return {
            "file": str(path.relative_to(REPOSITORY)), "line": node.lineno,
            "old": source[begin:end].decode(), "new": new, "span": (begin, end),
            "lines": (first, node.end_lineno),
        }  # fmt: skip

    def visit(node, first):
        if not isinstance(node, ast.AST):
            return
        first = node.lineno if isinstance(node, ast.stmt) else first
        yield from (fault(node, new, first) for new in faults(node))
        for test in conditions(node):
            if not isinstance(test, ast.Compare):
                yield fault(test, f"not ({ast.unparse(test)})", first)
        for child in inner(node):
            yield from visit(child, first)

    return list(visit(ast.parse(source), 1))


class Recorder:
    """Which lines each test runs, and its seconds; what a shared fixture runs is its file's."""

    def __init__(self, cover):
        self.cover, self.seconds = cover, {}

    def pytest_runtest_setup(self, item):
        self.cover.switch_context(item.nodeid.split("::")[0])

    def pytest_runtest_call(self, item):
        self.cover.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration


class Selection:
    """Runs these tests only, quick ones first, those of a file together."""

    def __init__(self, seconds):
        self.seconds = seconds

    def pytest_collection_modifyitems(self, items):
        def order(item):
            return self.seconds[item.nodeid] > 0.3, item.nodeid.split("::")[0]

        items[:] = sorted((i for i in items if i.nodeid in self.seconds), key=order)


def run_tests(files, plugin):
    import pytest

    options = ["-x", "-q", "-m", "not slow and not gpu", "-p", "no:cacheprovider"]
    options.append("--assert=plain")  # rewriting all of hypothesis takes seconds
    return int(pytest.main([*options, *files], plugins=[plugin]))


def forked(body, seconds, output=os.devnull):
    """Exit code of the body in a process of its own; None if it is late."""
    child = os.fork()
    if child == 0:
        os.setsid()
        there = os.open(output, os.O_WRONLY | os.O_CREAT)
        os.dup2(there, 1)
        os.dup2(there, 2)
        resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))
        sys.path.insert(0, str(Path.cwd()))
        code = BROKEN
        try:
            code = body()
        except Exception:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def baseline():
    """Tests of each line, in map.json, by one run of all on the copy as it is."""
    import coverage

    where = [f"physgen/{folder}" for folder in FOLDERS]
    cover = coverage.Coverage(
        include=[f"{Path.cwd() / w}/*" for w in where], data_file=None, config_file=False
    )
    cover.start()
    recorder = Recorder(cover)
    tests = sorted(str(t) for f in FOLDERS for t in Path("tests").glob(f"test_{f}*.py"))
    code = run_tests(tests + where, recorder)
    cover.stop()
    data = cover.get_data()
    lines = {
        str(Path(name).relative_to(Path.cwd())): data.contexts_by_lineno(name)
        for name in data.measured_files()
    }
    Path("map.json").write_text(json.dumps({"seconds": recorder.seconds, "lines": lines}))
    return code


def tests_of(mutant, known):
    """Seconds of the tests that run the fault: the quickest, as many as there is time for."""
    lines, (first, last) = known["lines"].get(mutant["file"], {}), mutant["lines"]
    names = {name for k in range(first, last + 1) for name in lines.get(str(k), ())}
    if not names or "" in names:  # run by the import, or compiled
        names = {name for tests in lines.values() for name in tests} - {""} or known["seconds"]
    seconds = {
        test: t for test, t in known["seconds"].items()
        if test in names or test.split("::")[0] in names
    }  # fmt: skip
    chosen, total = {}, 0.0
    for test, t in sorted(seconds.items(), key=lambda item: item[1]):
        if total + t <= SECONDS or not chosen:
            chosen[test], total = t, total + t
    return chosen


def judged(mutant, known):
    """killed, timed out or survived."""
    tests = tests_of(mutant, known)
    path = Path(mutant["file"])
    source, (begin, end) = path.read_bytes(), mutant["span"]
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        cached.unlink()  # known by second and length alone
    path.write_bytes(source[:begin] + mutant["new"].encode() + source[end:])
    files = sorted({test.split("::")[0] for test in tests})
    try:
        limit = 20 + 4 * sum(tests.values())
        code = forked(lambda: run_tests(files, Selection(tests)), limit)
    finally:
        path.write_bytes(source)
    if code in (5, BROKEN):  # 5: pytest found no tests
        raise SystemExit(f"no tests were run on {mutant}")
    return {None: "timed out", 0: "survived"}.get(code, "killed")


def warm():
    """Import what physgen needs, once for all processes, and nothing of physgen."""
    os.environ["OMP_NUM_THREADS"] = "1"
    names = (
        "awkward",
        "boost_histogram",
        "h5py",
        "hypothesis",
        "numba",
        "pytest",
        "scipy.stats",
        "sklearn.ensemble",
    )
    for name in (*names, "torch", "uproot"):
        if find_spec(name.split(".")[0]):  # not all are needed
            import_module(name)
    if any(name.split(".")[0] == "physgen" for name in sys.modules):
        raise SystemExit("physgen was imported before its copy was changed")
    sys.dont_write_bytecode = True
    gc.freeze()  # pytest collects three times


def copied(folder):
    for name in ("physgen", "tests", "data", "docs"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "pyproject.toml", folder)


def shown(mutant):
    return {k: mutant[k] for k in ("file", "line", "old", "new")}


def campaign(sample, known, minutes):
    """Counts by module, and the survivors."""
    counts, survivors, end = {}, [], time.monotonic() + 60 * minutes
    for mutant in sample:
        if time.monotonic() > end:
            break
        verdict = judged(mutant, known)
        row = counts.setdefault(mutant["file"], Counter())
        row[verdict] += 1
        if verdict == "survived":
            survivors.append(shown(mutant))
            print(json.dumps(survivors[-1]), flush=True)
    return counts, survivors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="file:line, to judge all mutants of it; nothing is written")
    parser.add_argument("--again", action="store_true", help="judge the survivors of the result")
    given = parser.parse_args()
    modules = sorted(m for f in FOLDERS for m in (REPOSITORY / "physgen" / f).glob("*.py"))
    possible = [m for path in modules if path.name != "__init__.py" for m in mutants(path)]
    sample = random.Random(given.seed).sample(possible, len(possible))
    if given.only:
        sample = [m for m in sample if f"{m['file']}:{m['line']}" == given.only]
    if given.again:
        before = json.loads(RESULT.read_text())["rows"]
        sample = [m for m in sample if shown(m) in before["survivors"]]
    warm()
    with tempfile.TemporaryDirectory() as folder:
        copied(Path(folder))
        os.chdir(folder)
        os.environ["PYTHONPATH"] = folder  # of processes that a test starts
        if forked(baseline, 3600, "output.txt") != 0:
            raise SystemExit(
                "the tests fail on the package as it is:\n" + Path("output.txt").read_text()
            )
        known = json.loads(Path("map.json").read_text())
        counts, survivors = campaign(sample, known, given.minutes)
        os.chdir(REPOSITORY)
    totals = sum(counts.values(), Counter())
    print(json.dumps(totals), "of", len(possible))
    if not given.only:
        from machine import write_result  # imports physgen

        rows = {"seed": given.seed, "possible": len(possible), "total": totals}
        rows |= {"modules": dict(sorted(counts.items())), "survivors": survivors}
        if given.again:
            rows = before | {"again": {"total": totals, "survivors": survivors}}
        write_result(RESULT, rows)


if __name__ == "__main__":
    main()
