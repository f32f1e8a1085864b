"""
The generative adversarial network
==================================

Two networks of one hidden layer each play against one another, as in the lecture: first losses,
learning curves, images by epoch, what the losses prove, and a score that was not what it seemed.
"""

import math

from matplotlib.figure import Figure

from physgen.lectures import chapter, first_losses, js_bound, scores, train_gan
from physgen.lectures.gan import line
from physgen.lectures.gan_figures import learning_curves, samples_by_epoch

run = chapter()
digits, test = run.digits("train")["images"], run.digits("test")["images"]

# %%
# One batch through both networks before any training: none can do more than guess, and every
# cross-entropy is near ln 2.
for name, loss in first_losses(digits).items():
    print(f"{name} before the training: {loss:.4f} (guessing: {math.log(2):.4f})")

# %%
# The training, with the numbers that the lecture prints after every epoch.
training = train_gan(
    digits,
    n_epochs=2 if run.quick else 15,
    on_epoch=lambda number, epoch: print(line(number, epoch)),
)

# %%
# Dashed lines are where images and digits would have the same law: losses ln 2 and 2 ln 2, and
# D = 1/2. The last panel is what the loss of the discriminator proves about the JS divergence.
run.save(learning_curves(Figure(figsize=(8.4, 2.7), layout="constrained"), training), "gan")
figure = Figure(figsize=(6, 0.75 * len(training.samples) + 0.1), layout="constrained")
run.save(samples_by_epoch(figure, training), "gan_samples")
for number in (1, len(training.epochs)):
    bits = js_bound(training.epochs[number - 1]["discriminator"])
    print(f"after epoch {number}: JS divergence at least {bits:.3f} bits of 1")

# %%
# The score of the lecture, as printed and mended. A blank image must not beat real digits.
for name, score in scores(training, test).items():
    print(f"{name:18s} as printed {score['as_printed']:.3f}   mended {score['mended']:7.4f}")
