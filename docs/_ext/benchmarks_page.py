"""Writes _generated/benchmarks.md from benchmarks/results/*.json before a build.

What a benchmark measures, and how, is the docstring of its script. ``TABLES`` says which of its
numbers are shown; a result that it does not know is shown with all numbers of its rows.
"""

import ast
import json
import re
import subprocess
from pathlib import Path

HEAD = """# Benchmarks

Made from the files in `benchmarks/results` when these pages were built. Every section names the
script that wrote its numbers, the machine and the commit. Times are CPU seconds of the process on
one thread, unless the text says otherwise. Other work ran on the same machine, so read times as
good to ten percent or so, and ratios within one table rather than across tables. Most trainings
were done once, with one seed.
"""

ZMUMU = {
    "training_cpu_seconds": "training [CPU s]",
    "auc": "AUC",
    "auc_with_mass": "AUC with mass",
}
DIGITS = {
    "training_cpu_seconds": "training [CPU s]",
    "steps": "steps",
    "mmd2": "MMD^2",
    "nn_real": "1-NN, real",
    "nn_made": "1-NN, made",
    "right": "right",
    "sampling_cpu_seconds": "sampling 5,000 [CPU s]",
}
SHOWERS = {
    "training_cpu_seconds": "training [CPU s]",
    "auc_features": "AUC features",
    "auc_voxels": "AUC voxels",
    "fpd > value": "FPD",
    "fpd > floor": "FPD, floor",
    "separation > mean": "mean separation",
    "ms_per_event > 100": "ms per shower, batches of 100",
}
JETS = {
    "training_cpu_seconds": "training [CPU s]",
    "auc": "AUC",
    "fpd > value": "FPD",
    "kpd > value": "KPD",
    "w1_over_floor > jet mass / pt": "W1 of mass / pt, over floor",
    "w1_over_floor > girth": "W1 of girth, over floor",
    "w1_over_floor > D2": "W1 of D2, over floor",
    "ms_per_jet": "ms per jet",
}
PULLS = {
    "energy > pull": "energy",
    "specific_heat > pull": "specific heat",
    "abs_magnetization > pull": "mean abs. m",
    "susceptibility > pull": "susceptibility",
    "binder_cumulant > pull": "U4",
    "correlation_8 > pull": "C(8)",
    "js_energy > value": "JS",
    "js_energy > floor": "floor",
}
SPREAD = {"median": "median", "low": "smallest", "high": "largest"}
# file: (caption, path of the rows in the file, columns); None instead of columns for all numbers
TABLES = {
    "zmumu": [
        ("", "", ZMUMU | {"events_per_cpu_second": "events per CPU s"}),
    ],
    "students": [
        ("", "", ZMUMU | {"ms_per_event > 10000": "ms per event", "times_pythia": "over Pythia"}),
    ],
    "digits": [("", "", DIGITS)],
    "showers": [("", "", SHOWERS)],
    "jets": [("", "", JETS)],
    "ising": [
        (
            "Attempted flips per CPU nanosecond; cubic lattices have about as many spins",
            "flips_per_cpu_ns",
            "median",
        ),
        ("Spins moved by clusters per CPU nanosecond", "cluster_spins_per_cpu_ns", "median"),
        ("Exact results, CPU seconds", "exact_cpu_s", SPREAD),
    ],
    "mmd": [
        ("CPU seconds", "cpu_s", None),
        ("Memory and CPU seconds in a fresh process", "memory", None),
    ],
    "rbm_speed": [("Updates per CPU second, medians", "", "updates_per_s > median")],
    "rbm_ising": [
        ("Deviations in standard errors, and JS of the energy with its floor [bits]", "", PULLS),
    ],
    "diffusion_speed": [
        (
            "",
            "",
            {"steps_per_cpu_second": "steps per CPU s", "times_physgen": "physgen is faster by"},
        ),
    ],
}


def write(app):
    folder = Path(app.srcdir)
    target = folder / "_generated" / "benchmarks.md"
    text = page(folder.parent / "benchmarks")
    target.parent.mkdir(exist_ok=True)
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def page(benchmarks):
    results = sorted((benchmarks / "results").glob("*.json"))
    return "\n".join([HEAD, *(section(r, benchmarks / f"{r.stem}.py") for r in results)])


def section(result, script):
    stored = json.loads(result.read_text())
    title, explanation = docstring(script)
    body = "\n\n".join(tables(result.stem, stored["rows"]))
    return f"## {title}\n\n{explanation}\n\n{origin(stored['machine'])}\n\n{body}\n"


def docstring(script):
    """First line without its period, and the rest with commands as code blocks."""
    if not script.exists():
        return "", ""
    text = ast.get_docstring(ast.parse(script.read_text())) or ""
    first, _, rest = text.partition("\n")
    return first.rstrip("."), "\n".join(as_code(rest.strip("\n").splitlines()))


def as_code(lines):
    """Commands stand in blocks of their own, indented or not."""
    for line in lines:
        is_command = line.startswith(("python benchmarks/", "OMP_NUM_THREADS=1 python"))
        yield f"    {line}" if is_command else line


def origin(machine):
    commit, _, dirty = machine.get("commit", "").partition("-")
    words = [f"{machine['cpu']}, {machine['threads']} thread"]
    words += [f"Python {machine['python']}", f"torch {machine['torch']}"]
    if commit:
        words.append(f"commit {commit}{day_of(commit)}{' with changes' if dirty else ''}")
    return f"*Measured with {', '.join(words)}.*"


def day_of(commit):
    done = subprocess.run(
        ["git", "show", "-s", "--format= of %cs", commit],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return done.stdout.rstrip() if done.returncode == 0 else ""


# ---------------------------------------------------------------- tables


def tables(name, rows):
    if name == "calibration":  # benchmarks/calibration.py writes the tables as well
        return ["```{include} ../calibration.inc\n```"]
    if name in TABLES:
        return [
            f"{caption}\n\n{table(at(rows, path), columns)}".strip()
            for caption, path, columns in TABLES[name]
            if at(rows, path) is not None
        ]
    if isinstance(rows, list) or any(map(numbers_of, rows.values())):
        return [table(rows, None)]
    return [f"{readable(part)}\n\n{table(content, None)}" for part, content in rows.items()]


def table(rows, columns):
    if isinstance(rows, list):
        return listed(rows)
    if isinstance(columns, str):
        return crossed(rows, columns)
    rows = {k: v if isinstance(v, dict) else {"": v} for k, v in rows.items()}
    columns = columns or {key: readable(key) for row in rows.values() for key in numbers_of(row)}
    kept = {label: [number_at(row, path) for path in columns] for label, row in rows.items()}
    shown = [[label, *cells] for label, cells in kept.items() if any(c is not None for c in cells)]
    return as_markdown(["", *columns.values()], shown)


def listed(rows):
    """A list of rows, whose words come before their numbers."""
    keys = [key for key, value in rows[0].items() if not isinstance(value, (dict, list))]
    return as_markdown([readable(k) for k in keys], [[row.get(k) for k in keys] for row in rows])


def crossed(rows, last):
    """One row for each inner label, one column for each outer one: {L: {code: {median: 1}}}."""
    outer, _, inner = last.rpartition(" > ")
    cells = {}
    for column, content in rows.items():
        for label, value in (at(content, outer) or {}).items():
            number = value.get(inner, value.get("value")) if isinstance(value, dict) else None
            if isinstance(number, (int, float)):
                cells.setdefault(re.sub(r"cubic \d+", "cubic", label), {})[column] = number
    columns = [c for c in rows if any(c in row for row in cells.values())]
    shown = [[readable(k), *(row.get(c) for c in columns)] for k, row in cells.items()]
    return as_markdown(["", *columns], shown)


def at(content, path):
    for key in filter(None, path.split(" > ")):
        content = content.get(key) if isinstance(content, dict) else None
    return content


def number_at(row, path):
    value = row.get("") if path == "" else at(row, path)
    return None if isinstance(value, (dict, list)) else value


def numbers_of(row):
    if not isinstance(row, dict):
        return [row]
    return [k for k, v in row.items() if isinstance(v, (int, float, str, bool)) or v is None]


def readable(key):
    words = str(key).replace("_", " ")
    return re.sub(r"\bcpu s$", "[CPU s]", re.sub(r"\bmb$", "[MB]", words))


def as_markdown(header, rows):
    lines = ["| " + " | ".join(map(str, header)) + " |"]
    words = [any(isinstance(row[i], str) for row in rows) for i in range(len(header))]
    lines.append("|" + "|".join("---" if word else "---:" for word in words) + "|")
    lines += ["| " + " | ".join(shown(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def shown(value):
    """A number with three digits, or more where it is whole."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if value == 0:
        return "0"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0.1 <= abs(value) < 1 else f"{value:.3g}"


def setup(app):
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
