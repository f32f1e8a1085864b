"""The C++ example: compiled, and run on an exported file."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import physgen as pg

pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")

SOURCE = Path(__file__).parents[1] / "examples" / "cpp"
PLACES = ("/usr/include", "/usr/local/include")


def root():
    """Folder of onnxruntime for CMake; empty for that of the system."""
    given = os.environ.get("ONNXRUNTIME_ROOT", "")
    found = any(list(Path(p).glob("onnxruntime/**/onnxruntime_cxx_api.h")) for p in PLACES)
    if not given and not found:
        pytest.skip("no headers of onnxruntime (libonnxruntime-dev, or set ONNXRUNTIME_ROOT)")
    for tool in ("cmake", "g++"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return given


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    where, build = root(), tmp_path_factory.mktemp("build")
    configure = ["cmake", "-S", SOURCE, "-B", build, f"-DONNXRUNTIME_ROOT={where}"]
    for command in (configure, ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "generate"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.default_rng(1)
    energy = np.exp(rng.uniform(7, 11, 1000))
    cells = energy[:, None, None] * rng.exponential(size=(1000, 3, 4)) ** 2 / 24
    events = pg.Events.from_dict({"energy": energy, "cells": np.where(cells < 1, 0, cells)})
    surrogate = pg.Surrogate.fit(
        events, pg.GAN(n_hidden=8), conditions=["energy"], steps=20, rng=1
    )
    path = tmp_path_factory.mktemp("model") / "cells.onnx"
    pg.export(surrogate, path)
    return path


def test_the_example_comes_out(program, model):
    done = subprocess.run([program, model, "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert float(first.split()[6]) < 1e-5
    assert second.startswith("20 events, ")


def test_what_is_wrong_is_said(program, model, tmp_path):
    words = [program, model, "5", "1e9"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout.endswith("the conditions lie outside the trained range\n")
    words = [program, tmp_path / "none.onnx"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
