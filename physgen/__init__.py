"""Monte Carlo event generation with learned surrogates.

A surrogate is a simulator: both take a number of events and the conditions, and return
:class:`Events`. Whatever reads the one reads the other.
"""

from typing import TYPE_CHECKING

from physgen import observables
from physgen.conditions import ConditionError
from physgen.events import Events, concatenate
from physgen.files import describe, iter_events, read_events, write_events
from physgen.models import EBM, GAN, RBM, VAE, Diffusion, MaskedDiffusion
from physgen.schema import Field, Schema, SchemaError
from physgen.surrogate import Simulator, Surrogate
from physgen.training import History, Progress, TrainingConfig, TrainingError

if TYPE_CHECKING:
    from physgen.exporting import export
    from physgen.validation import compare
else:

    def __getattr__(name: str) -> object:
        # the metrics are a third of the package, and most programs compare nothing
        if name == "compare":
            from physgen.validation import compare

            return compare
        if name == "export":
            from physgen.exporting import export

            return export
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
    "compare",
    "concatenate",
    "describe",
    "export",
    "iter_events",
    "observables",
    "read_events",
    "write_events",
]
