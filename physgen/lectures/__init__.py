"""A university lecture on generative models, run on MNIST and led on into physics.

mnist         the digits: found, or downloaded, and checked
gan_networks  the two networks, as in the lecture
gan_written   its training loop step for step
gan_fast      the same mathematics in a quarter of the time
gan           either of them, with checkpoint, scores, and what the losses prove
gan_figures   curves and images
chapter       the chapters' names, and what their scripts in ``chapters/`` need
"""

from physgen.lectures.chapter import CHAPTERS, Chapter, chapter, chapter_path
from physgen.lectures.gan import GanTraining, js_bound, scores, train_gan
from physgen.lectures.gan_networks import (
    create_noise,
    make_discriminator_network,
    make_generator_network,
)
from physgen.lectures.gan_written import first_losses
from physgen.lectures.mnist import DataError, mnist

__all__ = [
    "CHAPTERS",
    "Chapter",
    "DataError",
    "GanTraining",
    "chapter",
    "chapter_path",
    "create_noise",
    "first_losses",
    "js_bound",
    "make_discriminator_network",
    "make_generator_network",
    "mnist",
    "scores",
    "train_gan",
]
