"""
All five families on MNIST
==========================

The same digits, the same few seconds, five ways to learn them, and one table.
"""

import time

import numpy as np
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsClassifier

import physgen as pg
from physgen.lectures import chapter
from physgen.metrics import lecture_mmd
from physgen.metrics.neighbors import nearest
from physgen.models import DenoisingScoreMatching, MLPEnergy, Perceptron
from physgen.plotting.style import COLORS, styled
from physgen.transforms import OneHot

run = chapter()
n = 200 if run.quick else 1000  # digits on either side of a comparison
random = np.random.default_rng(1)

# %%
# Black and white on 14 x 14 pixels, so that seconds suffice. The energy model learns slopes, and
# so gets digits with noise on them; its own are black where they are above 0.


def small(events):
    return np.where(events["images"].reshape(-1, 14, 2, 14, 2).mean((2, 4)) > 100, 1, -1)


train, test = run.digits(), run.digits("test")
digits, order = small(train).astype(np.int8), random.permutation(len(test))
real, labels = small(test)[order].reshape(-1, 196), test["labels"][order]
judge = KNeighborsClassifier(5)
judge.fit(digits[: 4 * n].reshape(-1, 196), train["labels"][: 4 * n])

# %%
# Settings and steps, so many that each training takes about ten seconds of one core.
families = {
    "GAN": (pg.GAN(n_latent=20), 500),
    "VAE": (pg.VAE(n_latent=20, kl_weight=1.0), 500),
    "RBM": (pg.RBM(n_hidden=200, n_snapshots=0), 150),
    "EBM": (
        pg.EBM(network=MLPEnergy(n_hidden=256), objective=DenoisingScoreMatching(sigma=0.3)),
        1000,
    ),
    "Diffusion": (pg.MaskedDiffusion(network=Perceptron(n_hidden=256)), 500),
}

# %%
# Four numbers. MMD^2 with the lecture's kernel and the 1-NN accuracy, the share of events whose
# nearest neighbor is of their own side, compare with unseen digits: 0 and 1/2 where laws agree. On
# the real side it is high where digits are missing, on the other where those made clump together.
# The five nearest real digits say how often one is what was asked for.


def judged(made, asked):
    made = made.reshape(-1, 196)
    distance = lecture_mmd(real[n:], made, rescales_generated=False, is_biased=False)
    same = (nearest(np.concatenate((real[:n], made)))[1][:, 0] < n) == (np.arange(2 * n) < n)
    return distance, same[:n].mean(), same[n:].mean(), judge.score(made, asked)


some = np.random.default_rng(4).permutation(len(digits))[:n]
table = {"other real digits": (*judged(digits[some], train["labels"][some]), 0.0, 0.0)}
pictures = {"real": digits[:12]}
for name, (settings, steps) in families.items():
    truth = digits + 0.3 * random.normal(size=digits.shape) if name == "EBM" else digits
    training = pg.TrainingConfig(steps=max(5, steps // 50) if run.quick else steps, batch_size=64)
    start = time.process_time()
    events = pg.Events.from_dict({"digit": truth, "label": train["labels"]})
    flags = {"conditions": ["label"], "transforms": {"label": OneHot()}}
    s = pg.Surrogate.fit(events, settings, **flags, training=training, rng=2)
    middle = time.process_time()
    made = np.where(s(n, {"label": labels[:n]}, rng=3)["digit"] > 0, 1, -1)
    table[name] = (*judged(made, labels[:n]), middle - start, time.process_time() - middle)
    pictures[name] = made[:12]

# %%
# The table, and a dozen of each.
print("                    MMD^2    1-NN real  1-NN made  right  train [s]  sample [s]")
for name, row in table.items():
    print("{:18s} {:7.4f} {:10.3f} {:10.3f} {:6.2f} {:9.1f} {:10.1f}".format(name, *row))

fig = Figure(figsize=(8.4, 3), layout="constrained")
digits_of, numbers = fig.subplots(1, 2, width_ratios=(1.9, 1))
rows = np.arange(len(table))
shown = np.stack(list(pictures.values())).swapaxes(1, 2).reshape(14 * len(rows), -1)
digits_of.imshow(shown, cmap="gray_r")
digits_of.set(xticks=[], yticks=7 + 14 * rows, yticklabels=pictures)
for k, (label, mark) in enumerate((("1-NN, real", "o"), ("1-NN, made", "s"), ("right", "^")), 1):
    numbers.plot(
        [row[k] for row in table.values()], rows, mark, ms=5, color=COLORS[k], label=label
    )
numbers.axvline(0.5, color="black", linestyle="--", linewidth=0.8)
numbers.set(xlim=(0, 1.05), ylim=(len(rows) - 0.5, -0.5), yticks=[], xlabel="share of the digits")
styled(numbers).legend(frameon=False, fontsize=7.5, loc="upper left")
run.save(fig, "families")
