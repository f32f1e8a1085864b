"""One training loop for every family of models.

    for x, condition in batches:
        for player, optimizer in players:
            loss -> gradient of the player's own parameters -> clip -> step

Around it: a budget in epochs, steps or seconds; warm-up and decay of the learning rate; an average
of the weights; a held-out loss; and a guard that returns to the last good state when a loss is
not finite.
"""

from physgen.training.config import History, Progress, TrainingConfig, TrainingError, seconds
from physgen.training.loop import optimizers_of, threads, train

__all__ = [
    "History",
    "Progress",
    "TrainingConfig",
    "TrainingError",
    "optimizers_of",
    "seconds",
    "threads",
    "train",
]
