"""Time of an exported surrogate through onnxruntime, one thread, event by event and in batches.

python benchmarks/export.py run/ shower.onnx [--n-steps 1]     a surrogate of your own
python benchmarks/export.py                                    one step of an MLP for 576 voxels

The second trains nothing to speak of: weights do not change the time. The energies and shapes of
its showers are random, their number that of a calorimeter of 12 layers, 8 angles and 6 rings.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import describe

import physgen as pg
from physgen.exporting import OnnxGenerator
from physgen.exporting.card import draws_of
from physgen.exporting.noise import philox_noise

N_CALLS, N_REPEATS = 200, 5


def stand_in():
    rng = np.random.default_rng(1)
    energy = np.exp(rng.uniform(np.log(1e3), np.log(5e4), 2000)).astype(np.float32)
    showers = energy[:, None, None, None] * rng.exponential(size=(2000, 12, 8, 6)) ** 3 / 3500
    events = pg.Events.from_dict(
        {"incident_energies": energy, "showers": np.where(showers < 1, 0, showers)},
        units={"incident_energies": "MeV", "showers": "MeV"},
    )
    return pg.Surrogate.fit(
        events, pg.Diffusion(network=pg.models.Perceptron()), conditions=["incident_energies"],
        steps=5, rng=1,
    )  # fmt: skip


def milliseconds(generator, n_events):
    """Best of some repetitions of the processor time per event, in ms; noise not counted."""
    conditions = {
        entry["name"]: np.full(n_events, entry["low"])
        for entry in generator.card["inputs"]
        if entry["role"] == "condition"
    }
    noise = philox_noise(draws_of(generator.card), 1, np.arange(n_events))
    inputs = conditions | noise
    generator.run(inputs)
    times = []
    for _ in range(N_REPEATS):
        start = time.process_time()
        calls = max(1, N_CALLS // n_events)
        for _ in range(calls):
            generator.run(inputs)
        times.append((time.process_time() - start) / calls / n_events * 1e3)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("surrogate", nargs="?", help="folder of a surrogate")
    parser.add_argument("file", nargs="?", help="the .onnx file; written if it is not there")
    parser.add_argument("--n-steps", type=int, help="steps of a Diffusion")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(given.file or Path(folder) / "model.onnx")
        if not path.exists():
            surrogate = pg.Surrogate.load(given.surrogate) if given.surrogate else stand_in()
            effort = {"n_steps": given.n_steps} if given.n_steps else {}
            if not given.surrogate:
                effort.setdefault("n_steps", 1)
            start = time.process_time()
            pg.export(surrogate, path, **effort)
            print(f"exported in {time.process_time() - start:.0f} CPU-s")
        generator = OnnxGenerator(path)
        print(describe()["cpu"])
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        for n_events in (1, 10, 100):
            print(f"batch {n_events}: {milliseconds(generator, n_events):.3f} ms/event")


if __name__ == "__main__":
    main()
