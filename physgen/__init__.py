"""Monte Carlo event generation with learned surrogates.

A surrogate is a simulator: both take a number of events and the conditions, and return
:class:`Events`. Whatever reads the one reads the other.
"""

from typing import TYPE_CHECKING

from physgen.collector import paused

with paused():
    from physgen import observables
    from physgen.conditions import ConditionError
    from physgen.events import Events, concatenate
    from physgen.files import describe, iter_events, read_events, stream, write_events
    from physgen.models import EBM, GAN, RBM, VAE, Diffusion, MaskedDiffusion
    from physgen.schema import Field, Schema, SchemaError
    from physgen.simulator import Simulator
    from physgen.surrogate import Surrogate
    from physgen.training import History, Progress, TrainingConfig, TrainingError

if TYPE_CHECKING:
    from physgen.bayes import posterior
    from physgen.benchmarking import benchmark
    from physgen.citing import citation
    from physgen.distillation import distill
    from physgen.exporting import export
    from physgen.refinement import refine
    from physgen.validation import compare
else:
    # most programs need none of these, and they are a third of the package
    _LAZY = {
        "benchmark": "physgen.benchmarking",
        "citation": "physgen.citing",
        "compare": "physgen.validation",
        "distill": "physgen.distillation",
        "export": "physgen.exporting",
        "posterior": "physgen.bayes",
        "refine": "physgen.refinement",
    }

    def __getattr__(name: str) -> object:
        if name in _LAZY:
            from importlib import import_module

            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"
__all__ = [
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
