"""Small valid inputs of every reader, as bytes: what the mutators damage."""

import gzip
import hashlib
import io
import json
import tempfile
from pathlib import Path

import awkward as ak
import h5py
import numpy as np

import physgen as pg
from physgen.files import Binning, write_events
from physgen.files.binning import Layer
from physgen.files.pieces import write_part
from physgen.networks.set_transformer import SetTransformer

N = 12
CUTS = (
    "pt > 30 and abs(eta) < 2.4",
    "20 < pt < 50 or not tag",
    "len(Jet_pt) >= 2 and n % 3 == 1",
    "hypot(pt, eta) ** 2 / pi <= 1e3 - -n",
    "(pt > 3) & (eta < 1) ^ tag | (n // 2 != 1)",
    "maximum(sqrt(pt), log(eta)) >= +0.5 and jet.pt > 1",
)
CUT_COLUMNS = {
    "pt": np.linspace(0, 60, N).astype("f4"),
    "eta": np.linspace(-3, 3, N),
    "n": np.arange(N, dtype="i4"),
    "tag": np.arange(N) % 2 == 0,
    "big": np.arange(N, dtype="u8"),
    "jet.pt": np.arange(N, dtype="f8"),
    "image": np.ones((N, 2, 2)),
    "Jet_pt": ak.unflatten(np.arange(N, dtype="f4"), np.r_[N, np.zeros(N - 1, int)]),
}


def events():
    """Flat, fixed and jagged columns, a weight, a condition, units and conventions."""
    counts = np.arange(N) % 3 + 1
    made = pg.Events.from_dict(
        {
            "x": np.linspace(-1, 1, N).astype("f4"),
            "n": (np.arange(N) % 4).astype("i4"),
            "image": np.arange(N * 4).reshape(N, 2, 2).astype("u1"),
            "Jet_pt": ak.unflatten(np.arange(counts.sum(), dtype="f4"), counts),
            "Jet_eta": ak.unflatten(np.arange(counts.sum(), dtype="f8"), counts),
        },
        units={"Jet_pt": "GeV"},
    )
    return made.replace_schema(made.schema.with_field("n", allowed=(0, 1, 2, 3)))


def _written(name, made, **settings):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write_events(path, made, **settings)
        return path.read_bytes()


def _part(made):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.h5")
        write_part(path, made)
        return path.read_bytes()


def _datasets(content, **settings):
    """An HDF5 file with these datasets, made in memory."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", **settings) as file:
        for name, values in content.items():
            file.create_dataset(name, data=values)
    return buffer.getvalue()


def hdf5():
    """Our own layout (also packed), every dialect, plain columns, structured ones, new format."""
    rng = np.random.default_rng(1)
    energies = rng.uniform(1, 9, N)
    mask = (np.arange(5) < rng.integers(1, 5, (N, 1))).astype("f4")
    particles = rng.normal(size=(N, 5, 4)).astype("f4") * mask[..., None]
    particles[..., 3] = mask
    rows = np.zeros(N, dtype=[("a", "f4"), ("b", "i2", (2,)), ("c", "S3")])
    plain = {"a": energies, "weight": np.ones(N), "g/b": np.arange(N), "name": np.bytes_(b"x")}
    return [
        _written("a.h5", events()),
        _written("a.h5", events(), compression="none"),
        _written("a.h5", events()[["x", "n"]], compression="lzf"),
        _datasets({"incident_energies": energies[:, None], "showers": rng.uniform(size=(N, 6))}),
        _datasets({"incident_energy": energies, "showers": rng.uniform(size=(N, 2, 3, 2))}),
        _datasets(
            {"particle_features": particles, "jet_features": rng.normal(size=(N, 4)).astype("f4")}
        ),
        _datasets({n: np.asarray(v) for n, v in plain.items()}),
        _datasets({"rows": rows}),
        _part(events()),
        _datasets({"x": energies, "g/y": np.arange(N)}, libver="latest"),
    ]


def root():
    """Trees and RNTuples, flat and jagged, with and without our schema."""
    flat = events()[["x", "n"]]
    return [
        _written("a.root", events()),
        _written("a.root", flat, compression="none"),
        _written("a.root", flat, rntuple=True),
        _written("a.root", events()[["x", "Jet_pt", "Jet_eta"]], rntuple=True),
    ]


def idx():
    """Images, labels, packed and not."""
    images = bytes((0, 0, 8, 3)) + np.array([N, 3, 3], ">u4").tobytes() + bytes(range(9)) * N
    labels = bytes((0, 0, 8, 1)) + np.array([N], ">u4").tobytes() + bytes(range(10)) + b"\1\2"
    return [images, labels, gzip.compress(images, mtime=0), gzip.compress(labels, mtime=0)]


def binnings():
    """Regular and irregular binnings."""
    layers = tuple(Layer(i, (0.0, 5.0, 10.5), 2 + i) for i in range(3))
    two = (
        b'<Bins><Bin name="a"><Layer id="0" r_edges="0,1" n_bin_alpha="2"/></Bin>'
        b'<Bin name="b"><Layer id="0" r_edges="0" n_bin_alpha="1"/><Layer id="1" r_edges="0,2,4"'
        b' n_bin_alpha="3"/></Bin></Bins>'
    )
    return [Binning("electron", layers).to_xml().encode(), two]


def surrogates():
    """Folders of small surrogates: (surrogate.json as a dict, weights)."""
    found = []
    truth = events()
    small = pg.Diffusion(n_hidden=4, n_blocks=1, n_sampling_steps=2)
    network = SetTransformer(n_hidden=4, n_blocks=1, n_heads=1)
    cloud = pg.Diffusion(n_hidden=4, n_blocks=1, n_sampling_steps=2, network=network)
    for model, fields in (
        (small, ["x", "n"]),
        (cloud, ["Jet_pt", "Jet_eta"]),
        (pg.VAE(n_hidden=4), ["x"]),
        (pg.RBM(n_hidden=3), ["image"]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            columns = truth[fields]
            if isinstance(model, pg.RBM):
                columns = pg.Events.from_dict(
                    {"s": np.where(truth["image"] % 2, 1, -1).astype("i1")}
                )
            surrogate = pg.Surrogate.fit(columns, model, steps=1, rng=0)
            surrogate.save(Path(folder, "run"))
            document = json.loads(Path(folder, "run/surrogate.json").read_text())
            found.append((document, Path(folder, "run/weights.safetensors").read_bytes()))
    return found


def signed(document, weights):
    """surrogate.json with the checksums that belong to it, as an attacker would write it."""
    content = {
        k: v for k, v in document.items() if k not in ("physgen_surrogate", "content_sha256")
    }
    content["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    text = json.dumps(content, sort_keys=True)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    head = {"physgen_surrogate": document.get("physgen_surrogate", 1), "content_sha256": checksum}
    return json.dumps({**head, **content})
