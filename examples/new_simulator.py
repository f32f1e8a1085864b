"""
A simulator of your own
=======================

A callable with a schema. Surrogates learn from it and replace it.

A particle decays exponentially and its energy is smeared by a calorimeter; the lifetime is the
condition. The surrogate is trained on many lifetimes and asked for one it has not seen.

.. code-block:: sh

    python examples/new_simulator.py [--quick]
"""

import argparse

import numpy as np

import physgen as pg


class Decays:
    """Decay times in ns and measured energies in GeV, for given lifetimes."""

    schema = pg.Schema(
        (
            pg.Field("time", unit="ns"),
            pg.Field("energy", unit="GeV"),
            pg.Field("lifetime", unit="ns", role="condition"),
        )
    )

    def __call__(self, n_events, conditions=None, *, rng):
        lifetime = np.broadcast_to((conditions or {}).get("lifetime", 2.2), n_events)
        generator = np.random.default_rng(rng)
        time = generator.exponential(lifetime)
        energy = generator.normal(50, 0.1 * np.sqrt(50), n_events) * np.exp(-time / 100)
        columns = {"time": time, "energy": energy, "lifetime": lifetime}
        return pg.Events(self.schema, {n: c.astype(np.float32) for n, c in columns.items()})


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)

    simulator = Decays()
    lifetimes = np.random.default_rng(0).uniform(1, 4, 2000 if args.quick else 20_000)
    truth = simulator(len(lifetimes), {"lifetime": lifetimes}, rng=1)
    surrogate = pg.Surrogate.fit(
        truth, pg.Diffusion(n_hidden=64), steps=100 if args.quick else 2000, rng=2
    )
    # both are simulators: the same call, the same Events
    given = {"lifetime": 2.5}
    report = pg.compare(simulator(3000, given, rng=3), surrogate(3000, given, rng=4), rng=0)
    print(report)
    return report


if __name__ == "__main__":
    main()
