"""Trains a codec of pictures in the three stages of Generative Latent Coding.

Source: Jia et al. (CVPR 2024). I: the autoencoder `ngu.world.vq_vae`; besides, a model of its words
that makes a codec of it (`ngu.analysis.coding.word_code`). II: on its frozen features,
transform, hyperprior and context model by rate and distortion of the features, with a predictor of
the code words. III: all of it together by rate and distortion of the pictures.

Shapes: B pictures, r x c blocks, D coordinates.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.nn import functional

from ngu.analysis.coding.cells import count_cells
from ngu.analysis.coding.context_model import ContextModel, mixture
from ngu.analysis.coding.frame_code import MOST_CELLS, FrameCode
from ngu.analysis.coding.frame_transform import HYPER, FrameTransform, neighbours
from ngu.analysis.coding.learning import EXCHANGE
from ngu.analysis.coding.training_table import Table
from ngu.analysis.coding.word_code import WordCode, WordModel
from ngu.precision import autocast, resolve_precision
from ngu.seeding import Seeds
from ngu.world.vq_vae import VQVAE

_TINY = 1e-9
_WORD_WEIGHT = 0.05
_COUNTED = 400
"""Pictures whose blocks the cells are counted on."""
_AT_ONCE = 32


@dataclass(frozen=True)
class FrameLearningConfig:
    """How the codec is trained."""

    dim: int = 48
    """Coordinates of a block."""
    steps: tuple[float, ...] = (0.4, 0.8, 1.6, 3.2)
    """Of the quantiser, where pixels are 0 to 1 and the transform begins orthonormal."""
    batch_size: int = 4
    """Pictures in an update."""
    learning_rate: float = 1e-3
    """Adam's highest step size."""
    word_learning_rate: float = 3e-3
    """The same of the words' model."""
    joint_learning_rate: float = 2e-4
    """The same in stage III, where all is near its place already."""
    autoencoder: int = 300
    """Updates of stage I, of twice as many pictures."""
    words: int = 600
    """Updates of the words' model, of twice as many pictures; they are fast."""
    transform: int = 250
    """Updates of stage II."""
    joint: int = 150
    """Updates of stage III."""
    adapted: int = 150
    """Updates of the context model after each of II and III, when cells are counted anew."""


class FrameLearning:
    """Training of a codec, stage after stage.

    Args:
        pictures: to train on, uint8 [N, ...].
        config: how.
        seed: of weights, batches and noise.
        vqvae: an autoencoder through stage I; None: one is made by `autoencoder`.

    Attributes:
        vqvae: the autoencoder.
        transform: the networks around it, from stage II on.
    """

    def __init__(
        self,
        pictures: UInt8[np.ndarray, "N ..."],
        config: FrameLearningConfig | None = None,
        *,
        seed: int,
        vqvae: VQVAE | None = None,
    ) -> None:
        self.config = FrameLearningConfig() if config is None else config
        self._seeds = Seeds(seed)
        self._generator = self._seeds.torch("batches and noise of the codec")
        self._pictures = torch.from_numpy(pictures)
        self._dtype = resolve_precision("auto", "cpu")
        weights = self._seeds.torch("weights of the codec")
        self.vqvae = VQVAE(pictures.shape[1:], generator=weights) if vqvae is None else vqvae
        self.transform = FrameTransform(self.vqvae, self.config.dim, generator=weights)
        blocks = math.prod(self.transform.grid)
        extra = 4 * self.config.dim + HYPER + blocks + 1
        self.model = ContextModel(self.config.dim, extra, generator=weights)
        self.word_model = WordModel(self.vqvae.places, self.vqvae.config.words, generator=weights)
        self.hyper_log_scale = nn.Parameter(torch.full((HYPER,), math.log(0.3)))
        self._tables: list[Table] = []

    def autoencoder(self) -> Iterator[float]:
        """Stage I; yields the loss of each update."""
        config = self.config
        some = self._pictures[:: max(1, len(self._pictures) // _COUNTED)]
        self.vqvae.begin(some, generator=self._generator)
        weights = list(self.vqvae.parameters())
        yield from self._updates(
            config.autoencoder, weights, self.vqvae.loss, size=2 * config.batch_size
        )
        with torch.no_grad():
            parts = self._pictures.split(_AT_ONCE)
            words = torch.cat([self.vqvae.snap(self.vqvae.encode(part)).chosen for part in parts])
        self.word_model.begin(words)
        yield from self._updates(
            config.words,
            list(self.word_model.parameters()),
            self._word_loss,
            config.word_learning_rate,
            2 * config.batch_size,
            of=words,
        )

    def word_code(self) -> WordCode:
        """The codec of words after stage I."""
        return WordCode(copy.deepcopy(self.vqvae), self.word_model.exact())

    def transforms(self) -> Iterator[float]:
        """Stage II; yields the loss of each update."""
        config = self.config
        self.transform.begin(self._features()[:_COUNTED])
        self._tables = self._counted()
        yield from self._updates(config.adapted, self._entropy_weights(), self._hard_loss)
        both = [*self.transform.analysis.parameters(), *self.transform.synthesis.parameters()]
        both += self.transform.predictor.parameters()
        yield from self._updates(
            config.transform, [*both, *self._entropy_weights()], self._feature_loss
        )
        self._tables = self._counted()
        yield from self._updates(config.adapted, self._entropy_weights(), self._hard_loss)

    def joint(self) -> Iterator[float]:
        """Stage III; yields the loss of each update."""
        self._tables = self._tables or self._counted()
        weights = [*self.transform.parameters(), *self.model.parameters(), self.hyper_log_scale]
        yield from self._updates(
            self.config.joint, weights, self._picture_loss, self.config.joint_learning_rate
        )
        self._tables = self._counted()
        yield from self._updates(self.config.adapted, self._entropy_weights(), self._hard_loss)

    def codes(self) -> list[FrameCode]:
        """The codec as it is now, at each step."""
        self._tables = self._tables or self._counted()
        transform, exact = copy.deepcopy(self.transform), self.model.exact()
        codes = []
        for table in self._tables:
            shape = (-1, *transform.grid, self.config.dim)
            scores = table.hard(table.index)[0].reshape(shape)
            with torch.no_grad():
                hyper = transform.hyper_integers(scores).numpy()
            cells = [count_cells(column.astype(np.float64), 1.0) for column in hyper.T]
            codes.append(
                FrameCode(
                    transform, table.step, table.told, table.cells, table.scores, cells, exact
                )
            )
        return codes

    def state_dict(self) -> dict[str, Any]:
        """Weights of all networks; cells are counted anew when they are loaded."""
        return {
            "transform": self.transform.state_dict(),
            "model": self.model.state_dict(),
            "words": self.word_model.state_dict(),
            "hyper_log_scale": self.hyper_log_scale.detach(),
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned, for the same pictures."""
        self.transform.load_state_dict(state["transform"])
        self.model.load_state_dict(state["model"])
        self.word_model.load_state_dict(state["words"])
        self.hyper_log_scale.data.copy_(state["hyper_log_scale"])
        self._generator.set_state(state["generator"])
        self._tables = []

    def _entropy_weights(self) -> list[nn.Parameter]:
        hyper = self.transform.hyper.parameters()
        return [*self.model.parameters(), *hyper, self.hyper_log_scale]

    def _updates(
        self,
        count: int,
        weights: list[nn.Parameter],
        loss: Callable[[Tensor], Tensor],
        rate: float | None = None,
        size: int | None = None,
        of: Tensor | None = None,
    ) -> Iterator[float]:
        size = self.config.batch_size if size is None else size
        of = self._pictures if of is None else of
        rate = self.config.learning_rate if rate is None else rate
        optimiser = torch.optim.Adam(weights, lr=rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rate, total_steps=count + 1, pct_start=0.1
        )
        for _ in range(count):
            rows = torch.randint(len(of), (size,), generator=self._generator)
            with autocast("cpu", self._dtype):
                value = loss(of[rows])
            optimiser.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(weights, 10.0)
            optimiser.step()
            schedule.step()
            yield value.item()

    def _word_loss(self, words: Tensor) -> Tensor:
        """Bits of a place's word."""
        logits = self.word_model(words)
        return functional.cross_entropy(logits.flatten(0, 1), words.flatten()) / math.log(2)

    def _hard_loss(self, pictures: Tensor) -> Tensor:
        """Bits of a block as it is written."""
        table = self._table()
        with torch.no_grad():
            coordinates = self.transform.analyse(self.vqvae.encode(pictures))
        flat = coordinates.reshape(-1, self.config.dim)
        index = torch.from_numpy(table.indexed(flat.double().numpy()))
        return self._bits(table, *table.hard(index), coordinates.shape)

    def _feature_loss(self, pictures: Tensor) -> Tensor:
        table = self._table()
        with torch.no_grad():
            features = self.vqvae.encode(pictures)
            words = self.vqvae.snap(features).chosen
        bits, decoded = self._noisy(table, features)
        error = (decoded - features).square().sum() / self._blocks(len(pictures))
        told = functional.cross_entropy(self.transform.words(decoded), words)
        return bits + EXCHANGE * error / table.step**2 + _WORD_WEIGHT * told

    def _picture_loss(self, pictures: Tensor) -> Tensor:
        table = self._table()
        bits, decoded = self._noisy(table, self.vqvae.encode(pictures))
        shown = self.vqvae.scaled(pictures)
        error = (self.vqvae.decode(decoded) - shown).square().sum() / self._blocks(len(pictures))
        return bits + EXCHANGE * error / table.step**2

    def _noisy(self, table: Table, features: Tensor) -> tuple[Tensor, Tensor]:
        coordinates = self.transform.analyse(features)
        noise = torch.rand(coordinates.shape, generator=self._generator) - 0.5
        noisy = coordinates + noise * table.step
        soft = table.soft(noisy.reshape(-1, self.config.dim))
        return self._bits(table, *soft, coordinates.shape), self.transform.synthesise(noisy)

    def _bits(
        self, table: Table, scores: Tensor, low: Tensor, high: Tensor, shape: Sequence[int]
    ) -> Tensor:
        """Mean over blocks of the bits of blocks and hyperpriors."""
        batch, rows, columns, _ = shape
        with torch.autocast("cpu", enabled=False):
            maps = scores.view(*shape)
            hyper = self.transform.hyperprior(maps)
            hyper = hyper + torch.rand(hyper.shape, generator=self._generator) - 0.5
            scale = self.hyper_log_scale.exp()
            normal = torch.special.ndtr
            mass = normal((hyper + 0.5) / scale) - normal((hyper - 0.5) / scale)
            place = torch.eye(rows * columns).expand(batch, -1, -1)
            extra = torch.cat(
                (
                    neighbours(maps).flatten(1, 2),
                    hyper[:, None].expand(-1, rows * columns, -1),
                    place,
                    torch.full((batch, rows * columns, 1), table.told),
                ),
                dim=-1,
            )
            inputs = torch.cat((maps.flatten(1, 2), extra), dim=-1).flatten(0, 1)
            found = mixture(self.model(inputs)).mass(low, high)
            bits = -(found + _TINY).log2().sum(1).mean()
            return bits - (mass + _TINY).log2().sum() / self._blocks(batch)

    def _table(self) -> Table:
        return self._tables[int(torch.randint(len(self._tables), (), generator=self._generator))]

    def _blocks(self, batch: int) -> int:
        return batch * math.prod(self.transform.grid)

    @torch.no_grad()
    def _features(self) -> Tensor:
        """Of some of the pictures."""
        some = self._pictures[:: max(1, len(self._pictures) // _COUNTED)]
        return torch.cat([self.vqvae.encode(part) for part in some.split(_AT_ONCE)])

    @torch.no_grad()
    def _counted(self) -> list[Table]:
        parts = [self.transform.analyse(part) for part in self._features().split(_AT_ONCE)]
        flat = torch.cat(parts).reshape(-1, self.config.dim).double().numpy()
        middle = self.config.steps[len(self.config.steps) // 2]
        return [
            Table(flat, step, math.log2(step / middle) / 3, most=MOST_CELLS)
            for step in self.config.steps
        ]
