"""What the tests share: where the sample data are, small data sets, one thread."""

import os
from functools import partial
from importlib import import_module
from pathlib import Path

import awkward as ak
import hypothesis
import numpy as np
import pytest
import torch

import physgen as pg

REPOSITORY = Path(__file__).parents[1]

# a program of its own, which test_fuzz.py starts
collect_ignore = ["fuzzing"]

# the same examples in every run: a failure can be repeated, and a run takes as long as the last
hypothesis.settings.register_profile("physgen", deadline=None, derandomize=True, max_examples=30)
hypothesis.settings.load_profile("physgen")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Bits of a sum depend on the number of threads; and the machine may be shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data_dir():
    """The samples that are part of the repository."""
    return REPOSITORY / "data"


@pytest.fixture(scope="session")
def shared_data():
    """Larger samples beside the repository, or where PHYSGEN_DATA says; skips without them."""
    folder = Path(os.environ.get("PHYSGEN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name}: set PHYSGEN_DATA to the large samples")
    return folder


@pytest.fixture(scope="session")
def zmumu(data_dir):
    """10,000 events of Z -> mu mu with jets."""
    return pg.read_events(data_dir / "zmumu.root")[:10_000]


@pytest.fixture
def quick_images(monkeypatch):
    """A fifth of the steps for the classifier on images, where a test is about something else."""
    module = import_module("physgen.metrics.image_classifier")  # a function has its name too
    monkeypatch.setattr(module, "image_classifier", partial(module.image_classifier, n_steps=60))


@pytest.fixture
def jets():
    """Six events with jets, of which two have none."""
    return pg.Events.from_dict(
        {
            "x": np.array([0.5, 1.5, -2.5, 3.0, 0.0, 7.0], dtype=np.float32),
            "n": np.array([1, 0, 2, 3, 0, 1], dtype=np.int32),
            "Jet_pt": ak.Array([[30.0], [], [50.0, 20.0], [9.0, 8.0, 7.0], [], [1.0]]),
            "Jet_eta": ak.Array([[0.1], [], [-1.0, 2.0], [0.0, 0.5, 1.0], [], [-0.5]]),
        },
        units={"Jet_pt": "GeV"},
    )
