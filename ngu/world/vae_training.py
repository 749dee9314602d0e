"""Training of the autoencoder on pictures in memory, and what it comes to on others.

Sources: Ha and Schmidhuber, "World Models" (arXiv 1803.10122), appendix A.1; active units from
Burda et al., "Importance Weighted Autoencoders" (arXiv 1509.00519), section 5.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ngu.adam import load_adam
from ngu.precision import autocast, resolve_precision
from ngu.seeding import Seeds
from ngu.world.vae import ConvVAE

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active where its posteriors' means vary more than this over pictures."""

_EVALUATED_AT_ONCE = 512


@dataclass(frozen=True)
class VAETrainingConfig:
    """How the autoencoder is trained."""

    epochs: int = 10
    """Passes over the pictures."""
    batch_size: int = 256
    """Pictures in an update."""
    learning_rate: float = 5e-4
    """Adam's step size (World Models: 1e-4 for batches of 100)."""
    held_out_share: float = 0.05
    """Share of the pictures, the last ones, that are only evaluated on."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not 0 < self.held_out_share < 1:
            raise ValueError(f"held_out_share must be between 0 and 1, got {self.held_out_share}")

    def held_out(self, count: int) -> int:
        """How many of so many pictures are held out.

        Raises:
            ValueError: the others are too few for a batch.
        """
        held_out = max(1, round(count * self.held_out_share))
        if count - held_out < self.batch_size:
            raise ValueError(
                f"there must be at least a batch of {self.batch_size} pictures beside the "
                f"{held_out} held out, got {count} in all"
            )
        return held_out


class VAEReport(NamedTuple):
    """What an autoencoder does with pictures; means over them."""

    squared_error: float
    """Of a picture in [0, 1], summed over its numbers, decoded from its posterior's mean."""
    kl: Float[np.ndarray, " Z"]
    """Nats of each latent dimension."""
    active_units: int
    """Latent dimensions whose posteriors' means vary by more than .01."""
    evidence: float
    """The evidence lower bound in nats, by one sample of each posterior."""
    bits_per_dimension: float
    """What it costs in bits for each number of a picture."""


class VAETraining:
    """Updates of an autoencoder, in a random order of the pictures in each epoch.

    Args:
        vae: trained in place.
        pictures: N of them, uint8 [N, ...] as the autoencoder takes them.
        config: how.
        seed: of the orders and the samples.
        device: where it computes.
        precision: of the convolutions, see :func:`ngu.precision.resolve_precision`.

    Attributes:
        updates: so far.
        held_out: the pictures that are not trained on, [M, ...].

    Raises:
        TypeError: the pictures are no bytes.
        ValueError: they have another shape, or are too few for a batch and a held-out one.
    """

    def __init__(
        self,
        vae: ConvVAE,
        pictures: UInt8[np.ndarray, "N ..."],
        config: VAETrainingConfig,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        precision: str = "auto",
    ) -> None:
        vae.check(torch.from_numpy(pictures[:1]))
        held_out = config.held_out(len(pictures))
        self.config = config
        self.updates = 0
        self.vae = vae.to(device)
        self._device = torch.device(device)
        self._dtype = resolve_precision(precision, self._device)
        self._pictures, self.held_out = np.split(pictures, [len(pictures) - held_out])
        self._seeds = Seeds(seed)
        self._noise = self._seeds.torch("posterior samples", self._device)
        self._optimiser = torch.optim.Adam(
            self.vae.parameters(), lr=config.learning_rate, fused=True
        )

    @property
    def updates_per_epoch(self) -> int:
        """Whole batches in an epoch; pictures beyond them wait for another one."""
        return len(self._pictures) // self.config.batch_size

    @property
    def total_updates(self) -> int:
        """Updates in all epochs."""
        return self.updates_per_epoch * self.config.epochs

    def __iter__(self) -> Iterator[dict[str, float]]:
        """Train to the end; one item of metrics an update.

        Raises:
            FloatingPointError: the loss is not finite; the weights are from before it.
        """
        while self.updates < self.total_updates:
            epoch, place = divmod(self.updates, self.updates_per_epoch)
            order = self._seeds.numpy(f"order of epoch {epoch}").permutation(len(self._pictures))
            size = self.config.batch_size
            for first in range(place * size, self.updates_per_epoch * size, size):
                yield self._update(self._pictures[np.sort(order[first : first + size])])

    def _update(self, pictures: UInt8[np.ndarray, "B ..."]) -> dict[str, float]:
        with autocast(self._device, self._dtype):
            bound = self.vae.bound(self._tensor(pictures), generator=self._noise)
        loss = self.vae.loss(bound)
        value = loss.item()
        if not np.isfinite(value):
            raise FloatingPointError(f"the loss is {value} in update {self.updates + 1}")
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._optimiser.step()
        self.updates += 1
        return {
            "loss": value,
            "evidence": bound.evidence.mean().item(),
            "kl": bound.kl.sum(-1).mean().item(),
        }

    @torch.no_grad()
    def evaluate(self) -> VAEReport:
        """What comes out on the pictures held out; the same samples each time, in float32."""
        noise = self._seeds.torch("held-out samples", self._device)
        means, kls, evidences, errors = list[Tensor](), list[Tensor](), list[Tensor](), 0.0
        for first in range(0, len(self.held_out), _EVALUATED_AT_ONCE):
            pictures = self._tensor(self.held_out[first : first + _EVALUATED_AT_ONCE])
            means.append(self.vae.encode(pictures).mean)
            decoded = self.vae.decode(means[-1])
            errors += (decoded.float() - pictures.float()).div(255).square().sum().item()
            bound = self.vae.bound(pictures, generator=noise)
            kls.append(bound.kl)
            evidences.append(bound.evidence)
        evidence = torch.cat(evidences).mean()
        return VAEReport(
            squared_error=errors / len(self.held_out),
            kl=torch.cat(kls).mean(0).cpu().numpy(),
            active_units=int((torch.cat(means).var(0, correction=0) > ACTIVE_VARIANCE).sum()),
            evidence=evidence.item(),
            bits_per_dimension=self.vae.bits_per_dimension(evidence).item(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next updates depend on, but the pictures."""
        return {
            "vae": self.vae.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "noise": self._noise.get_state(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state_dict` returned."""
        self.vae.load_state_dict(state["vae"])
        load_adam(self._optimiser, state["optimiser"])
        self._noise.set_state(state["noise"])
        self.updates = state["updates"]

    def _tensor(self, pictures: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device)
