"""A small embedding of which everything is known: rooms, places, frames, novelty."""

import numpy as np
import pytest

from ngu.analysis.data import EmbeddingData


class Squares:
    """Frames with a light square where the figure is."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def contents(self):
        return 100 * self.x + self.y

    def __getitem__(self, row):
        frame = np.zeros((24, 20, 1), np.uint8)
        frame[self.y[row] : self.y[row] + 4, self.x[row] : self.x[row] + 4] = 255
        return frame


def walk(seed=0, states=480, dim=6, episodes=12, **labels):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 16, (2, states))
    room = np.arange(states) // 20 % 3
    hidden = np.column_stack([x / 8 - 1, y / 10 - 1, room - 1.0])
    noise = 0.1 * rng.normal(size=(states, dim))
    embeddings = hidden @ rng.normal(size=(3, dim)) + noise
    return EmbeddingData(
        embeddings=embeddings.astype(np.float32),
        episodes=np.arange(states) * episodes // states,
        steps=np.arange(states) % (states // episodes),
        labels={"room": room, "x": x, "y": y, **labels},
        frames=Squares(x, y),
        source="runs/walk",
        rows=states,
        sampling=f"all {states} rows",
    )


@pytest.fixture
def data():
    """480 states of 12 episodes in 6 dimensions."""
    return walk()


@pytest.fixture
def make_data():
    """Makes such an embedding."""
    return walk
