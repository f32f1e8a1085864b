"""Energy-based models: networks, objectives, Markov moves and the model made of them."""

from physgen.models.ebm.energies import ConvEnergy, MLPEnergy
from physgen.models.ebm.model import EBM, EBMModel
from physgen.models.ebm.objectives import ContrastiveDivergence
from physgen.models.ebm.score import DenoisingScoreMatching, SlicedScoreMatching

__all__ = [
    "EBM",
    "ContrastiveDivergence",
    "ConvEnergy",
    "DenoisingScoreMatching",
    "EBMModel",
    "MLPEnergy",
    "SlicedScoreMatching",
]
