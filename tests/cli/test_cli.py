"""The shell command as a user types it: exit codes, what stands where, and the files it writes."""

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import physgen as pg
from physgen import cli, shell_train
from physgen.cli import main
from physgen.models.base import TensorSpec

ROOT = Path(__file__).parents[2]
ZMUMU = ROOT / "data" / "zmumu.root"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A surrogate trained by the shell for a few steps."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    code = main(
        f"train {ZMUMU} --model diffusion --fields mu1_pt,mu1_eta,met --conditions njet "
        f"--steps 30 --batch-size 128 --diffusion.n-hidden 16 --seed 1 -o {folder}".split()
    )
    assert code == 0
    return folder


def test_train_writes_what_was_asked_for(run):
    surrogate = pg.Surrogate.load(run)
    assert surrogate.settings == pg.Diffusion(n_hidden=16)
    assert surrogate.schema.names == ("mu1_pt", "mu1_eta", "met", "njet")
    assert surrogate.schema.with_role("condition") == ("njet",)
    stored = json.loads((run / "surrogate.json").read_text())
    assert stored["info"]["seed"] == 1
    assert stored["info"]["training"]["steps"] == 30
    assert stored["info"]["training"]["batch_size"] == 128
    assert stored["info"]["file"]["name"] == "zmumu.root"
    assert len(stored["info"]["file"]["sha256"]) == 64


def test_train_says_what_the_model_showed_and_reported(tmp_path, capsys, caplog, monkeypatch):
    shown = {"log_z": -7.25, "log_z_error": 0.0312, "r_hat": 1.0131}
    warning = "the chains no longer mix: tau exceeds n_steps; use tempered chains"
    kind = type(pg.VAE().build(TensorSpec(n_features=2)))
    monkeypatch.setattr(kind, "diagnose", lambda *_, **__: (shown, [warning]))
    run = tmp_path / "run"
    assert main(f"train {ZMUMU} --model vae --fields met --steps 20 -o {run}".split()) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{run}: Surrogate(VAE: met), 10,240 events seen in ")
    assert rest == [
        "the model at step 20:",
        "  log_z  -7.25 ± 0.031",
        "  r_hat  1.013",
        "reported along the training:",
        f"  at step 20: {warning}",
    ]
    assert caplog.messages == [f"at step 20: {warning}"]  # as it happens, too


@pytest.mark.parametrize("suffix", ["root", "h5"])
def test_sample_is_the_python_call(run, tmp_path, capsys, suffix):
    target = tmp_path / f"fake.{suffix}"
    assert main(f"sample {run} -n 300 --given njet=1 --seed 2 -o {target}".split()) == 0
    out, err = capsys.readouterr()
    assert "300 events" in out
    assert err == ""
    expected = pg.Surrogate.load(run)(300, {"njet": 1}, rng=2)
    found = pg.read_events(target)
    assert found.schema == expected.schema
    for name in expected.schema.names:
        np.testing.assert_array_equal(found[name], expected[name])


def test_conditions_from_a_file(run, tmp_path):
    target = tmp_path / "fake.h5"
    assert main(f"sample {run} -n 200 --conditions {ZMUMU} -o {target}".split()) == 0
    truth = pg.read_events(ZMUMU, fields=["njet"], stop=200)
    np.testing.assert_array_equal(pg.read_events(target)["njet"], truth["njet"])


def test_compare_prints_the_verdict_and_writes_the_report(tmp_path, capsys):
    events = pg.read_events(ZMUMU, fields=["mu1_pt", "met"], stop=1000)
    near, far = tmp_path / "near.h5", tmp_path / "far.h5"
    pg.write_events(near, events[:500])
    pg.write_events(far, events[500:].with_columns({"met": events["met"][500:] + 15}))
    page = tmp_path / "report.html"
    command = f"compare {near} {far} --fields mu1_pt,met -o {page}"
    assert main(command.split()) == 0
    out, err = capsys.readouterr()
    assert out.startswith("FAIL")
    assert "report.html" in err
    assert "<html" in page.read_text()
    assert main([*command.split(), "--strict"]) == 1
    assert main(f"compare {near} {near} --strict".split()) == 1


def test_info_of_files_and_surrogates(run, capsys):
    assert main(["info", str(ZMUMU)]) == 0
    out = capsys.readouterr().out
    assert "60,000 events" in out
    assert "Jet_pt" in out
    assert main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    assert "n_hidden 16" in out
    assert "njet: 0 to 8" in out


def test_simulate_takes_the_fields_of_the_simulator(tmp_path):
    target = tmp_path / "ring.h5"
    line = f"simulate ising-ring --n-spins 4 --given beta=0.3 -n 50 --seed 3 -o {target}"
    assert main(line.split()) == 0
    events = pg.read_events(target)
    assert events["spins"].shape == (50, 4)
    assert (events["beta"] == 0.3).all()


@pytest.mark.parametrize("n_columns", [80, 120])
@pytest.mark.parametrize("players", [("denoiser",), ("generator", "discriminator")])
def test_the_progress_fits_the_terminal(n_columns, players, monkeypatch):
    screen = Console(file=io.StringIO(), width=n_columns, force_terminal=True, color_system=None)
    monkeypatch.setattr(shell_train, "stderr", screen)
    with shell_train._progress("training gan on 60,000 events") as report:
        loss = dict.fromkeys(players, -10.123456)
        report(pg.Progress(7, 0.5, loss, events_per_second=123_456.7, seconds_left=754.0))
    text = screen.file.getvalue()
    assert text.startswith("training gan on 60,000 events\n")
    assert f"{players[-1] if len(players) > 1 else 'loss'} -10.123  123,457 events/s" in text
    assert "12:34 left" in text
    assert "…" not in text


def test_warnings_are_one_line_on_stderr(monkeypatch):
    screen = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(cli, "stderr", screen)
    record = logging.makeLogRecord({"msg": "dropped 3 of 50 [events] " + "very " * 40 + "long"})
    cli._Messages().emit(record)
    assert screen.file.getvalue() == f"warning: {record.msg}\n"


def test_settings_that_are_objects_have_names(tmp_path):
    folder = tmp_path / "gan"
    line = (
        f"train {ZMUMU} --model gan --fields met --steps 2 "
        f"--gan.objective non-saturating:gamma=0.5 -o {folder}"
    )
    assert main(line.split()) == 0
    stored = json.loads((folder / "surrogate.json").read_text())["model"]
    assert stored["objective"] == {"kind": "NonSaturating", "gamma": 0.5}


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("info nowhere.root", 1, "no file"),
        (f"train {ZMUMU} --fields mu1_p --steps 1 -o x", 1, "mu1_pt"),
        (f"train {ZMUMU} --fields met --steps 1 --epochs 2 -o x", 1, "one budget"),
        (f"train {ZMUMU} --model gan --gan.objective wrong --steps 1 -o x", 1, "relativistic"),
        (
            f"train {ZMUMU} --model rbm --rbm.chains temperedpcd --steps 1 -o x",
            1,
            "'temperedpcd'; use one of cd, pcd, fast-pcd, tempered-pcd",
        ),
        (
            f"train {ZMUMU} --model ebm --ebm.kernel pcd --steps 1 -o x",
            1,
            "'pcd'; use one of automatic, langevin, hmc, single-flip, gibbs, informed-flip",
        ),
        (
            f"train {ZMUMU} --model rbm --rbm.chains pcd:k=1 --steps 1 -o x",
            1,
            "pcd has no setting 'k' (settings: ",
        ),
        (f"train {ZMUMU} --model flow -o x", 2, "diffusion"),
        ("train", 2, "DATA"),
        ("sample nowhere -n 5 -o x.root", 1, "nowhere"),
        ("sample nowhere -n five -o x.root", 2, "five"),
        ("nonsense", 2, "nonsense"),
    ],
)
def test_errors_are_sentences_on_stderr(line, code, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == code
    out, err = capsys.readouterr()
    assert words.lower() in err.replace("\n", " ").lower()
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_no_error(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pg, "describe", interrupted)
    assert main(["info", str(ZMUMU)]) == 130
    assert capsys.readouterr().err == "stopped\n"


def test_missing_or_outside_conditions(run, tmp_path, capsys):
    target = tmp_path / "fake.root"
    assert main(f"sample {run} -n 5 -o {target}".split()) == 1
    assert "njet (0 to 8)" in capsys.readouterr().err
    assert main(f"sample {run} -n 5 --given njet=50 -o {target}".split()) == 1
    assert not target.exists()
    assert main(f"sample {run} -n 5 --given njet=50 --extrapolate -o {target}".split()) == 0
    assert main(f"sample {run} -n 5 --given njet -o {target}".split()) == 1
    assert "name=number" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "train", "sample", "compare", "info", "simulate"])
def test_help_has_an_example(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: physgen" in out
    if command not in ("", "simulate"):
        assert f"physgen {command}" in out.split("Example:")[1]


def test_module_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "physgen", "--version"],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.strip() == f"physgen {pg.__version__}"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = (
        f"{sys.executable} -m physgen info data/zmumu.root | head -1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=Path(__file__).parents[2],
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("0", "141")


def test_ctrl_c_while_libraries_are_imported_is_no_traceback():
    code = (
        "import sys, types, physgen.__main__ as command\n"
        "def stop(name, *_):\n"
        "    if name == 'physgen.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, types.SimpleNamespace(find_spec=stop))\n"
        "sys.exit(command.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


@pytest.mark.parametrize("hook", [True, False])
def test_a_ctrl_c_that_python_swallows_is_asked_for_again(hook):
    """One that strikes in a destructor only shows as a message, without the hook."""
    code = (
        "import sys, time, types, physgen.__main__ as command\n"
        "class Fragile:\n"
        "    def __del__(self): raise KeyboardInterrupt\n"
        "def stop(name, *_):\n"
        "    if name == 'physgen.cli':\n"
        f"        if not {hook}: sys.unraisablehook = sys.__unraisablehook__\n"
        "        Fragile(); time.sleep(1); sys.exit('went on')\n"
        "sys.meta_path.insert(0, types.SimpleNamespace(find_spec=stop))\n"
        "sys.exit(command.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    if hook:
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")
    else:
        assert (done.returncode, "went on" in done.stderr) == (1, True)
