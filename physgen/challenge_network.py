"""The classifier of the CaloChallenge, as a ``fit`` of ``physgen.metrics.classifier_test``."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from torch import Tensor, nn

from physgen.metrics.classifier import Score
from physgen.random import seeded_layers

__all__ = ["challenge_network"]

_BATCH = 1000
_LEARNING_RATE = 2e-4
_TEST_SHARE = 0.25  # a fifth of all events chooses the epoch, where another fifth is held out


def challenge_network(
    x: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None,
    *,
    seed: int,
    n_hidden: int = 2048,
    n_epochs: int = 50,
    device: str | None = None,
) -> Score:
    """Train the network that the published AUC of the challenge come from.

    Three hidden layers of 2048 LeakyReLU units in float64, Adam with a learning rate of 2e-4,
    batches of 1000, 50 epochs, of which the one with the best accuracy on a part of its own (a
    quarter of the events given) is kept. The isotonic calibration that follows in the challenge
    does not change the order of events but for ties.

    Parameters
    ----------
    x : array of shape (n_events, ...)
        Features.
    labels : array of shape (n_events,)
        0 and 1.
    weights : None
        The challenge has none.
    seed : int
        Of initial weights, parts and batches.
    n_hidden, n_epochs : int, default 2048 and 50
        Units of each hidden layer, and epochs.
    device : str, optional
        Where to train; a GPU if there is one.

    Returns
    -------
    callable
        Logits of events.

    Raises
    ------
    ValueError
        If there are weights.

    References
    ----------
    Krause et al., arXiv:2410.21611.
    """
    if weights is not None and np.ptp(weights) > 1e-9 * np.abs(weights).max():
        raise ValueError("the classifier of the CaloChallenge knows no weights; use another fit")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    features = torch.as_tensor(np.reshape(x, (len(x), -1)), dtype=torch.float64, device=place)
    targets = torch.as_tensor(labels, dtype=torch.float64, device=place)
    network = _built(features.shape[1], n_hidden, seed).to(place)
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    test, train = _parts(len(x), generator)
    best, kept = -1.0, network.state_dict()
    for _ in range(n_epochs):
        order = train[torch.randperm(len(train), generator=generator)].to(place)
        for rows in order.split(_BATCH):
            logits = network(features[rows])[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(logits, targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = _logits(network, features[test.to(place)]) > 0
        accuracy = float((found == (targets[test.to(place)] > 0.5)).double().mean())
        if accuracy > best:
            best, kept = accuracy, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    return lambda events: _score(network, events, place)


def _built(n_features: int, n_hidden: int, seed: int) -> nn.Sequential:
    widths = (n_features, n_hidden, n_hidden, n_hidden)
    layers: list[nn.Module] = []
    with seeded_layers(seed):
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Linear(n_in, n_out, dtype=torch.float64), nn.LeakyReLU()]
        layers.append(nn.Linear(n_hidden, 1, dtype=torch.float64))
    return nn.Sequential(*layers)


def _parts(n_events: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    order = torch.randperm(n_events, generator=generator)
    n_test = max(1, round(_TEST_SHARE * n_events))
    return order[:n_test], order[n_test:]


def _logits(network: nn.Sequential, features: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(rows)[:, 0] for rows in features.split(10 * _BATCH)])


def _score(network: nn.Sequential, events: np.ndarray, place: str) -> np.ndarray:
    flat = np.reshape(events, (len(events), -1))
    return _logits(network, torch.as_tensor(flat, dtype=torch.float64, device=place)).cpu().numpy()
