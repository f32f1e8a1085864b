"""Monte Carlo event generation with learned surrogates.

A surrogate is a simulator: both take a number of events and the conditions, and return
:class:`Events`. Whatever reads the one reads the other.
"""

from physgen.events import Events, concatenate
from physgen.models import EBM, GAN, RBM, VAE, Diffusion
from physgen.schema import Field, Schema, SchemaError
from physgen.surrogate import ConditionError, Simulator, Surrogate
from physgen.training import History, TrainingConfig, TrainingError

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
    "Schema",
    "SchemaError",
    "Simulator",
    "Surrogate",
    "TrainingConfig",
    "TrainingError",
    "concatenate",
]
