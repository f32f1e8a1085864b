"""
Digits on demand
================

Both networks are told which digit it should be, and then the generator makes the one that is asked
for.
"""

import numpy as np
from matplotlib.figure import Figure
from sklearn.neighbors import KNeighborsClassifier

import physgen as pg
from physgen.lectures import chapter
from physgen.transforms import OneHot

run = chapter()

# %%
# Digits in black and white, so that what is real differs from what is made by more than shades.
# Labels are conditions; as ten flags, since a 7 is not between a 6 and an 8.


def black_and_white(events):
    images = np.where(events["images"] > 127, 1, -1).astype(np.int8)
    return pg.Events.from_dict({"digit": images, "label": events["labels"]})


train, test = (black_and_white(run.digits(part)) for part in ("train", "test"))
gan = pg.Surrogate.fit(
    train,
    pg.GAN(n_latent=20),
    conditions=["label"],
    transforms={"label": OneHot()},
    training=pg.TrainingConfig(steps=15 if run.quick else 1500, batch_size=64),
    rng=1,
)

# %%
# A hundred of each kind, and ten of them to look at.
wanted = np.repeat(np.arange(10, dtype=np.uint8), 100)
made = gan(1000, {"label": wanted}, rng=2)
rows = made["digit"].reshape(10, 100, 28, 28)[:, :10]
fig = Figure(figsize=(4.6, 4.6), layout="constrained")
ax = fig.subplots()
ax.imshow(rows.swapaxes(1, 2).reshape(280, 280), cmap="gray_r")
ax.set(xticks=[], yticks=np.arange(14, 280, 28), yticklabels=range(10), ylabel="asked for")
ax.tick_params(length=0)
run.save(fig, "conditional_gan")

# %%
# Who asks for a 3 should get a 3: the five nearest real digits say what it is, for digits
# that they do not know and for those that were made.
judge = KNeighborsClassifier(5)
n = 1000 if run.quick else 5000
judge.fit(train["digit"][:n].reshape(n, -1), train["label"][:n])
real = judge.score(test["digit"][:2000].reshape(2000, -1), test["label"][:2000])
seen = judge.predict(made["digit"].reshape(1000, -1))
print(f"real digits recognized: {real:.1%}; digits on demand: {np.mean(seen == wanted):.1%}")
for digit in range(10):
    right = seen[wanted == digit]
    print(f"  asked for {digit}: {np.mean(right == digit):4.0%} taken for {digit}")
