"""One training loop for every family of models.

    for x, condition in batches:
        for player, optimizer in players:
            loss -> gradient of the player's own parameters -> clip -> step

Around it: a budget in epochs, steps or seconds; warm-up and decay of the learning rate; an average
of the weights, of which the best is kept where a model scores itself; a held-out loss; looks into
the model, which shows what it wants to be seen; and a guard that returns to the last good state
when a loss is not finite or the model says that it diverges. A training that is kept in
checkpoints goes on where it was killed. Under torchrun many processes run the loop, each on its
part of every batch.
"""

from physgen.training.checkpoint import Checkpoint
from physgen.training.config import TrainingConfig, seconds
from physgen.training.history import History, Progress, TrainingError
from physgen.training.loop import train, train_on
from physgen.training.players import optimizers_of
from physgen.training.pools import Pool, Pools
from physgen.training.ranks import LostProcessError
from physgen.training.threads import threads

__all__ = [
    "Checkpoint",
    "History",
    "LostProcessError",
    "Pool",
    "Pools",
    "Progress",
    "TrainingConfig",
    "TrainingError",
    "optimizers_of",
    "seconds",
    "threads",
    "train",
    "train_on",
]
