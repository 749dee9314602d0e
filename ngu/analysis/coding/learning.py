"""Trains code (c) by rate and distortion, for all steps at once.

First the context model learns what is written after the rotation. Then the transform learns to
make bits + squared error / step^2 * 6 / ln 2 small, with uniform noise in place of rounding: where
steps are small, one bit more quarters the error step^2 / 12 of a dimension, and this is the
exchange rate. Then cells are counted anew, and the context model is adapted to them. What is best
on states set aside stays: what came out at last, what there was before the transform was learned,
or the rotation with each coordinate by itself, where nothing is to be saved.

Shapes: N states, D dimensions, S steps, B states of a batch.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ngu.analysis.coding.cells import count_cells
from ngu.analysis.coding.context_model import ContextModel, mixture
from ngu.analysis.coding.learned_code import LearnedCode
from ngu.analysis.coding.scalar_code import Rotation
from ngu.analysis.coding.training_table import Table
from ngu.analysis.coding.transform import HYPER, Transform
from ngu.seeding import Seeds

EXCHANGE = 6 / math.log(2)
"""Bits that a squared error of step^2 is worth."""
_BATCH = 512
_JUDGED = 2_048
_LEARNING_RATE = 3e-3
_TINY = 1e-9
_HYPER_SCALE = 0.3


@dataclass(frozen=True)
class LearningConfig:
    """How long each part of training is."""

    context: int = 700
    """Updates of the context model after the rotation."""
    transform: int = 300
    """Updates of the transform, by noise."""
    adapted: int = 300
    """Updates of the context model after the learned transform."""


class Learning:
    """Training of the learned code.

    Args:
        rotation: where the transform begins.
        embeddings: states to train on; the last tenth is only judged by.
        steps: of the quantiser.
        unit: the embedding's spread.
        seed: of weights and batches.
        config: how long.
    """

    def __init__(
        self,
        rotation: Rotation,
        embeddings: Float[np.ndarray, "N D"],
        steps: Sequence[float],
        unit: float,
        *,
        seed: int,
        config: LearningConfig | None = None,
    ) -> None:
        self.config = LearningConfig() if config is None else config
        seeds = Seeds(seed)
        self._generator = seeds.torch("batches of the learned code")
        draws = seeds.torch("weights of the learned code")
        self.steps, self._unit = tuple(steps), unit
        coordinates = rotation.analyse(embeddings)
        judged = min(_JUDGED, len(embeddings) // 10)
        self._train, self._judged = np.split(coordinates, [len(coordinates) - judged])
        scale = np.maximum(coordinates.std(0), min(steps) / 4)
        self.transform = Transform(rotation, scale, generator=draws)
        self.model = ContextModel(coordinates.shape[1], HYPER + 1, generator=draws)
        self.hyper_log_scale = torch.full((HYPER,), math.log(_HYPER_SCALE), requires_grad=True)
        self._tables = self._counted()

    def run(self, progress: Callable[[float], None]) -> list[LearnedCode]:
        """Train; return the codes, one a step.

        Args:
            progress: called with the share that is done.
        """
        config = self.config
        total = config.context + config.transform + config.adapted
        done = 0

        def told() -> None:
            nonlocal done
            done += 1
            progress(done / total)

        candidates = [(self.cost(), self._codes())]
        model = [*self.model.parameters(), self.hyper_log_scale]
        model += self.transform.hyper_analysis.parameters()
        self._updates(config.context, model, self._hard_loss, told)
        candidates.append((self.cost(), self._codes()))
        both = [*self.transform.analysis.parameters(), *self.transform.synthesis.parameters()]
        self._updates(config.transform, [*both, *model], self._soft_loss, told)
        self._tables = self._counted()
        synthesis = list(self.transform.synthesis.parameters())
        self._updates(config.adapted, [*model, *synthesis], self._hard_loss, told)
        candidates.append((self.cost(), self._codes()))
        return min(candidates, key=lambda candidate: candidate[0])[1]

    def cost(self) -> float:
        """Bits and exchanged error of a state, a mean over steps, on states set aside."""
        with torch.no_grad():
            costs = [self._cost_at(table) for table in self._tables]
        return float(np.mean(costs))

    def _cost_at(self, table: Table) -> float:
        coordinates = torch.from_numpy(self._judged).float()
        told = torch.full((len(coordinates), 1), table.told)
        learned = self.transform(coordinates, told).double().numpy()
        index = torch.from_numpy(table.indexed(learned))
        return float(self._hard(table, index, coordinates, told, rounded=True))

    def _updates(
        self,
        count: int,
        weights: Sequence[torch.nn.Parameter | Tensor],
        loss: Callable[[Table, Tensor], Tensor],
        told: Callable[[], None],
    ) -> None:
        optimiser = torch.optim.Adam(weights, lr=_LEARNING_RATE, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, _LEARNING_RATE, total_steps=count + 1, pct_start=0.1
        )
        for _ in range(count):
            place = torch.randint(len(self._tables), (), generator=self._generator)
            rows = torch.randint(len(self._train), (_BATCH,), generator=self._generator)
            optimiser.zero_grad(set_to_none=True)
            value = loss(self._tables[int(place)], rows)
            value.backward()
            torch.nn.utils.clip_grad_norm_(weights, 10.0)
            optimiser.step()
            schedule.step()
            told()

    def _hard_loss(self, table: Table, rows: Tensor) -> Tensor:
        coordinates = torch.from_numpy(self._train[rows.numpy()]).float()
        told = torch.full((len(rows), 1), table.told)
        return self._hard(table, table.index[rows], coordinates, told)

    def _hard(
        self, table: Table, index: Tensor, coordinates: Tensor, told: Tensor, rounded: bool = False
    ) -> Tensor:
        """Bits of written cells, and what the error of decoding them is worth."""
        scores, low, high = table.hard(index)
        bits = self._bits(scores, low, high, told, rounded)
        columns = [
            torch.from_numpy(cells.values[column.numpy()])
            for cells, column in zip(table.cells, index.T, strict=True)
        ]
        decoded = self.transform.invert(torch.stack(columns, 1).float(), told)
        return bits + self._error(decoded, coordinates, table)

    def _soft_loss(self, table: Table, rows: Tensor) -> Tensor:
        """The same where noise stands for rounding, so that the transform has a gradient."""
        coordinates = torch.from_numpy(self._train[rows.numpy()]).float()
        told = torch.full((len(rows), 1), table.told)
        noise = torch.rand(coordinates.shape, generator=self._generator) - 0.5
        learned = self.transform(coordinates, told) + noise * table.step
        bits = self._bits(*table.soft(learned), told)
        return bits + self._error(self.transform.invert(learned, told), coordinates, table)

    def _bits(
        self, scores: Tensor, low: Tensor, high: Tensor, told: Tensor, rounded: bool = False
    ) -> Tensor:
        hyper = self.transform.hyper_analysis(scores, told)
        if rounded:
            hyper = hyper.round()
        else:
            hyper = hyper + torch.rand(hyper.shape, generator=self._generator) - 0.5
        scale = self.hyper_log_scale.exp()
        normal = torch.special.ndtr
        mass = normal((hyper + 0.5) / scale) - normal((hyper - 0.5) / scale)
        parameters = self.model(torch.cat((scores, hyper, told), dim=1))
        bits = -(mixture(parameters).mass(low, high) + _TINY).log2().sum(1).mean()
        return bits - (mass + _TINY).log2().sum(1).mean()

    def _error(self, decoded: Tensor, coordinates: Tensor, table: Table) -> Tensor:
        error = (decoded - coordinates).square().sum(1).mean()
        return EXCHANGE * error / table.step**2

    def _counted(self) -> list[Table]:
        """The cells of the training states at each step, after the transform as it is."""
        tables = []
        for step in self.steps:
            told = _told(step, self._unit)
            with torch.no_grad():
                shown = torch.from_numpy(self._train).float()
                learned = self.transform(shown, torch.full((len(shown), 1), told))
            added = (learned - shown).double().numpy()
            tables.append(Table(self._train + added, step, told))
        return tables

    def _codes(self) -> list[LearnedCode]:
        transform, exact = copy.deepcopy(self.transform), self.model.exact()
        codes = []
        for table in self._tables:
            hyper = transform.hyperprior(table.scores.of(table.index.numpy()), table.told)
            hyper_cells = [count_cells(column.astype(np.float64), 1.0) for column in hyper.T]
            codes.append(
                LearnedCode(
                    transform, table.step, table.told, table.cells, table.scores, hyper_cells, exact
                )
            )
        return codes


def _told(step: float, unit: float) -> float:
    """A step as networks are told it: 0 for 1/8 of the embedding's spread, 1 for all of it."""
    return math.log2(step / unit) / 3 + 1
