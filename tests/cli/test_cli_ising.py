"""``physgen simulate ising`` as a user types it: streams, stops, goes on, and sums up."""

import io
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import scipy.stats
from rich.console import Console

import physgen as pg
from physgen import shell_ising
from physgen.cli import main
from physgen.files.parts import n_safe_events, parts_folder, write_stream
from physgen.shell_ising_table import Tally, table
from physgen.shell_ising_uniform import UniformTally, uniform_table
from physgen.simulators import Ising2D
from physgen.simulators.ising_exact import torus

QUICK = "--n-burn-in 50 --spacing 10"
COMMAND = [sys.executable, "-m", "physgen", "simulate", "ising"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def rows_of(text):
    """Cells of the table, as numbers."""
    lines = re.sub(
        r"\.(\d+)\((\d+)\)", lambda m: f".{m[1]} {int(m[2]) / 10 ** len(m[1]):.9f}", text
    ).splitlines()
    found = [re.findall(r"[-+]?[\d,]*\.?\d+(?:e-\d+)?", line) for line in lines[2:-1]]
    return [[float(cell.replace(",", "")) for cell in row] for row in found]


def test_the_call_of_the_readme(tmp_path, capsys):
    """A grid of temperatures, each with its share, its energy right and its times reported."""
    path = tmp_path / "ising.h5"
    line = f"simulate ising --side 8 --beta 0.3:0.6:4 -n 10001 --observables energy -o {path}"
    assert main(line.split()) == 0
    out, err = capsys.readouterr()
    events = pg.read_events(path)
    assert events.schema.names == ("spins", "beta", "energy")
    values, counts = np.unique(events["beta"], return_counts=True)
    np.testing.assert_allclose(values, [0.3, 0.4, 0.5, 0.6])
    assert counts.tolist() == [2501, 2500, 2500, 2500]
    assert (np.diff(events["beta"]) >= 0).all()
    exact = torus(8, values).energy / 64
    rows = rows_of(out)
    assert len(rows) == 4
    for k, (beta, n, energy, error, shown, pull, m, m_error, tau, burn_in, spacing) in enumerate(
        rows
    ):
        mine = events[events["beta"] == values[k]]
        assert (beta, n) == (round(values[k], 6), counts[k])
        assert energy == pytest.approx(mine["energy"].mean() / 64, abs=error / 5)
        assert error == pytest.approx(mine["energy"].std() / 64 / np.sqrt(n), rel=0.06)
        own = abs(mine["spins"].mean(axis=(1, 2)))
        assert m == pytest.approx(own.mean(), abs=m_error / 5)
        assert m_error == pytest.approx(own.std() / np.sqrt(n), rel=0.06)
        assert shown == pytest.approx(exact[k], abs=1e-6)
        assert abs(pull) < 4
        assert 0 < tau < spacing < burn_in
    assert "10,001 events" in out
    assert "events/s" in out
    assert "flips/ns" in out
    assert "sweeps of burn-in" in err
    assert "100 %" in err


def test_the_file_is_the_python_call(tmp_path):
    path = tmp_path / "a.root"
    line = f"simulate ising --side 4x6 --temperature 2,2.5 {QUICK} -n 500 --seed 5 -o {path}"
    assert main(line.split()) == 0
    beta = np.repeat(np.unique(1 / np.array([2, 2.5])), 250)
    ising = Ising2D((4, 6), n_burn_in=50, spacing=10)
    expected = ising(500, {"beta": beta}, rng=5)
    found = pg.read_events(path)
    assert found.schema == expected.schema
    assert found["spins"].dtype == np.int8
    np.testing.assert_array_equal(found["spins"], expected["spins"])


@pytest.mark.parametrize(
    ("options", "shape", "has_exact"),
    [
        ("--side 4x4x6", (4, 4, 6), False),
        ("--side 6 --lattice triangular", (6, 6), False),
        ("--side 6 --boundary open", (6, 6), False),
        ("--side 6 --field 0.1", (6, 6), False),
        ("--side 6 --coupling -1", (6, 6), True),
        ("--side 5 --coupling -1", (5, 5), False),
        ("--side 6 --algorithm swendsen-wang", (6, 6), True),
    ],
)
def test_exact_values_stand_where_they_are_known(tmp_path, capsys, options, shape, has_exact):
    path = tmp_path / "a.h5"
    assert main(f"simulate ising {options} --beta 0.3 -n 2000 -o {path}".split()) == 0
    out = capsys.readouterr().out
    assert pg.describe(path).schema["spins"].shape == shape
    assert ("pull" in out.splitlines()[0]) == has_exact
    if has_exact:
        assert abs(rows_of(out)[0][5]) < 4
    # a cluster flip is no single flip
    assert ("flips/ns" in out) == ("swendsen" not in options)


def test_the_table_fits_80_columns_and_notices_a_wrong_model():
    ising = Ising2D(16, coupling=1.05)
    betas = np.array([0.3, 0.4375])
    tally = Tally(Ising2D(16), betas)
    for events in ising.stream(8000, {"beta": np.repeat(betas, 4000)}, rng=1):
        tally.add(events)
    screen = Console(file=io.StringIO(), width=80)
    screen.print(table(tally, ising.thermalization(betas)))
    text = screen.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(row[5] < -4 for row in rows_of(text + "\n"))


def test_temperatures_drawn_from_a_uniform_law(tmp_path, capsys):
    """In random order, with energies that are right for each event's own temperature."""
    path = tmp_path / "a.h5"
    line = f"simulate ising --side 8 --beta uniform:0.3:0.5 -n 20000 --seed 3 -o {path}"
    assert main(line.split()) == 0
    out = capsys.readouterr().out
    beta = pg.read_events(path)["beta"]
    assert len(np.unique(beta)) == 20_000
    assert scipy.stats.kstest(beta, "uniform", (0.3, 0.2)).pvalue > 1e-3
    assert abs(np.corrcoef(beta[1:], beta[:-1])[0, 1]) < 0.03
    rows = rows_of(out)
    assert sum(row[2] for row in rows) == 20_000
    for *_, pull, chi2, error in rows:
        assert abs(pull) < 4
        assert abs(chi2 - 1) < 4 * error
        assert error < 0.1
    first = path.read_bytes()
    assert main(line.split()) == 0
    assert path.read_bytes() == first


def test_the_summary_of_a_uniform_law_notices_a_wrong_model():
    drawn = np.random.default_rng(1).uniform(0.3, 0.5, 4000)
    events = Ising2D(8, coupling=1.05)(4000, {"beta": drawn}, rng=1)
    tally = UniformTally(Ising2D(8), np.linspace(0.3, 0.5, 3))
    tally.add(events)
    screen = Console(file=io.StringIO(), width=80)
    screen.print(uniform_table(tally))
    assert all(row[5] < -4 for row in rows_of(screen.file.getvalue() + "\n"))
    tally = UniformTally(Ising2D(8, boundary="open"), np.linspace(0.3, 0.5, 3))
    tally.add(events)
    screen = Console(file=io.StringIO(), width=80)
    screen.print(uniform_table(tally))
    assert "pull" not in screen.file.getvalue()


def started(path, line):
    """The command in a process of its own, once it has written events."""
    process = subprocess.Popen(
        [*COMMAND, *line.split(), "-o", str(path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    before = n_safe_events(path)
    while n_safe_events(path) == before and process.poll() is None:
        time.sleep(0.01)
    return process


def test_killed_and_interrupted_it_goes_on_with_the_same_events(tmp_path, capsys):
    path = tmp_path / "ising.h5"
    line = "--side 8 --beta 0.4 -n 200000 --seed 3 --n-burn-in 200 --spacing 100"
    process = started(path, line)
    process.kill()
    process.communicate()
    killed_at = n_safe_events(path)
    process = started(path, line)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    stopped_at = n_safe_events(path)
    assert process.returncode == 130
    assert out == ""
    assert f"going on after {killed_at:,} events" in err
    assert f"stopped: {stopped_at:,} of 200,000 events are safe in" in err
    assert "the same command goes on from there" in err
    assert 0 < killed_at < stopped_at < 200_000
    whole = Ising2D(8, n_burn_in=200, spacing=100)(200_000, {"beta": 0.4}, rng=3)
    for part in parts_folder(path).glob("0*.h5"):
        first, stop = map(int, part.stem.split("-"))
        np.testing.assert_array_equal(pg.read_events(part)["spins"], whole["spins"][first:stop])

    other = line.replace("seed 3", "seed 4")
    assert main(["simulate", "ising", *other.split(), "-o", str(path)]) == 1
    assert "seed was 3 and is 4" in capsys.readouterr().err
    assert main(["simulate", "ising", *line.split(), "--threads", "2", "-o", str(path)]) == 0
    out = capsys.readouterr().out
    assert rows_of(out)[0][1] == 200_000
    found = pg.read_events(path)
    assert found.schema == whole.schema
    np.testing.assert_array_equal(found["spins"], whole["spins"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["ising.h5"]


def test_stopped_before_anything_was_written(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(shell_ising, "write_stream", interrupted)
    line = f"simulate ising --side 4 --beta 0.4 -n 100 -o {tmp_path / 'a.h5'}"
    assert main(line.split()) == 130
    assert capsys.readouterr().err == "stopped before anything was done\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--beta -0.3", "0 or more and finite, got -0.3"),
        ("--beta=nan", "got nan"),
        ("--beta 0.3:0.6", "cannot read --beta '0.3:0.6'; write a number"),
        ("--beta a:b:c", "cannot read --beta 'a:b:c'; write a number"),
        ("--beta 0.3:0.6:1", "2 to 10,000 values"),
        ("--beta 0.3:0.6:1000000000", "2 to 10,000 values"),
        ("--beta 0.3,,0.4", "cannot read"),
        ("--temperature 0", "above 0, got 0"),
        ("--temperature 2,nan", "above 0, got nan"),
        ("--temperature 2 --beta 0.4", "both were given"),
        ("", "neither was given"),
        ("--beta 0.4 -n 0", "-n must be 1 or more, got 0"),
        ("--beta uniform:0.3", "write uniform:first:last"),
        ("--beta uniform:0.6:0.3", "write uniform:first:last"),
        ("--beta uniform:0.3:0.6 -n 0", "-n must be 1 or more"),
        ("--beta 0,4", "write 0.4 or 0.0,4.0"),
        ("--temperature 2,27", "write 2.27 or 2.0,27.0"),
        ("--beta 0.4 --boundary peroidic", "periodic, open, got 'peroidic'; did you mean"),
        ("--beta 0.4 --lattice triangle", "did you mean 'triangular'"),
        ("--beta 0.4 --start cool", "did you mean 'cold'"),
        ("--beta 0.3:0.6:13", "-n must be 13, the number of temperatures, or more, got 9"),
        ("--beta 0.4 --side 1", "--side must be 2 or more, got 1"),
        ("--beta 0.4 --side 3y4", "write 32, 24x32 or 8x8x8"),
        ("--beta 0.4 --side 2x2x2x2", "write 32, 24x32 or 8x8x8"),
        ("--beta 0.4 --side 4x4x4 --lattice triangular", "--side gave 3"),
        ("--beta 0.4 --algorithm wolf", "did you mean 'wolff'"),
        ("--beta 0.4 --algorithm wolff --field 1", "use algorithm='metropolis'"),
        ("--beta 0.4 --observables enrgy", "did you mean 'energy'"),
        ("--beta 0.4 --n-burn-in 10", "go together"),
        ("--beta 0.4 -o no/a.h5", "there is no folder"),
        ("--beta 0.4 -o a.txt", "does not know the format"),
        ("--beta 0.4 -o a-idx3-ubyte", "piece by piece"),
    ],
)
def test_errors_come_before_the_simulation(options, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = options.split()
    rest = [*([] if "-n" in given else ["-n", "9"]), *([] if "-o" in given else ["-o", "a.h5"])]
    assert main(["simulate", "ising", *given, *rest]) == 1
    out, err = capsys.readouterr()
    assert words in err
    assert len(err.splitlines()) <= 2
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option", ["--seed 1.5", "-n 10.7", "--n-burn-in 1.5", "--spacing 2.5", "--threads 1.5"]
)
def test_counts_are_not_rounded(option, capsys):
    line = f"simulate ising --beta 0.4 {'' if '-n ' in option else '-n 9 '}-o a.h5 {option}"
    assert main(line.split()) == 2
    assert f"a whole number is needed, got '{option.split()[1]}'" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )


def test_counts_in_powers_of_ten(tmp_path):
    path = tmp_path / "a.h5"
    assert main(f"simulate ising --side 4 --beta 0.1 {QUICK} -n 1e2 -o {path}".split()) == 0
    assert len(pg.read_events(path)) == 100


def test_conflicts_come_before_the_trial(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Ising2D, "thermalization", lambda *_: pytest.fail("too late"))
    path = tmp_path / "a.h5"
    line = f"simulate ising --side 4 --beta 0.4 -n 100 -o {path}".split()
    parts_folder(path).write_text("a file of somebody")
    assert main(line) == 1
    assert "a file has that name; move it away" in capsys.readouterr().err
    parts_folder(path).unlink()
    parts_folder(path).mkdir()
    (parts_folder(path) / f"{0:012}-{50:012}.h5").write_bytes(b"a part")
    for content, words in (("{", "is damaged"), ("{}", "of another request")):
        (parts_folder(path) / "request.json").write_text(content)
        assert main(line) == 1
        assert words in capsys.readouterr().err


def test_stopped_during_the_trial(tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Ising2D, "thermalization", interrupted)
    line = f"simulate ising --side 4 --beta 0.4 -n 100 -o {tmp_path / 'a.h5'}"
    assert main(line.split()) == 130
    assert "stopped while measuring how long chains must run" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_stopped_when_all_was_done(tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **settings):
        write_stream(*arguments, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(shell_ising, "write_stream", interrupted)
    path = tmp_path / "a.h5"
    line = f"simulate ising --side 4 --beta 0.4 {QUICK} -n 100 -o {path}"
    assert main(line.split()) == 130
    assert "complete: 100 events" in capsys.readouterr().err
    assert len(pg.read_events(path)) == 100


def rows_with_times(times, betas, n=4000):
    ising = Ising2D(16, n_burn_in=400, spacing=2)
    tally = Tally(ising, betas)
    for seed in range(1, 3):
        tally.add(ising(n, {"beta": np.repeat(betas, n // len(betas))}, rng=seed))
    screen = Console(file=io.StringIO(), width=200)
    screen.print(table(tally, times))
    return screen.file.getvalue()


def test_errors_know_the_autocorrelation_of_the_events():
    """Events 2 sweeps apart have errors of coth(spacing / 2 tau); unknown where tau is."""
    betas = np.array([0.3, 0.42])
    measured = Ising2D(16).thermalization(betas)
    near = measured.replaced(400, 2)
    plain = rows_of(rows_with_times(measured, betas) + "\n")
    errors = rows_of(rows_with_times(near, betas) + "\n")
    for k in range(2):
        for column, tau in ((3, near.tau_energy[k]), (7, near.tau_order[k])):
            expected = np.sqrt(1 / np.tanh(1 / tau))
            assert errors[k][column] / plain[k][column] == pytest.approx(expected, rel=0.1)
        assert measured.spacing[k] > 3 * measured.tau_energy[k]
    unknown = rows_with_times(
        type(near).unknown(betas, "metropolis").replaced(400, 2), betas
    ).splitlines()[2:]
    assert all(line.count("–") == 4 for line in unknown)


def test_the_help_has_the_example_and_needs_no_numba():
    code = (
        "import sys; from physgen.cli import main; main(['simulate', 'ising', '--help']);"
        "print('numba' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    assert "physgen simulate ising --side 32 --beta 0.3:0.6:13 -n 100000" in " ".join(
        done.stdout.split()
    )
    assert done.stderr == "False\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_a_chunk():
    """Twelve chunks of 16 MB take no more than three; collected they would take 144 MB more."""
    code = (
        "import pathlib, sys, tempfile; from physgen.cli import main\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    for n in (3, 12):\n"
        "        line = f'simulate ising --side 32 --beta 1 -n {n * 16384} --n-burn-in 0 '\n"
        "        line += f'--spacing 1 -o {folder}/a.h5'\n"
        "        assert main(line.split()) == 0\n"
        "        status = pathlib.Path('/proc/self/status').read_text().splitlines()\n"
        "        peak = next(line for line in status if line.startswith('VmHWM')).split()[1]\n"
        "        print(peak, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=ENVIRONMENT
    )
    few, many = (int(line) / 1024 for line in done.stderr.splitlines() if line.isdigit())
    assert many - few < 60
    assert many < 1000
