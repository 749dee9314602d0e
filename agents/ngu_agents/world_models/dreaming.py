"""What controllers come to in dreams: episodes that the recurrent network makes up.

Source: Ha and Schmidhuber, "World Models" (arXiv 1803.10122), section 4.

Shapes: P candidates, N weights, R rollouts, Z latent dimensions, H units.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ngu.world.mdn_rnn import MDNRNN
from ngu.world.mdn_rnn_training import Batch
from ngu_agents.world_models.controller import LinearController


@torch.no_grad()
def beginnings(rnn: MDNRNN, batch: Batch) -> tuple[Float[Tensor, "R Z"], Float[Tensor, "2 R H"]]:
    """Where dreams begin: what is seen at the end of real sequences, and remembered of them."""
    latents, first = batch.latents, batch.first
    state = rnn.initial(latents.shape[1])
    _, state = rnn.follow(latents[:-1], batch.actions, first[:-1], state)
    return latents[-1], state * ~first[-1].unsqueeze(-1)


@torch.no_grad()
def dream_returns(
    rnn: MDNRNN,
    controller: LinearController,
    candidates: Float[np.ndarray, "P N"],
    latents: Float[Tensor, "R Z"],
    state: Float[Tensor, "2 R H"],
    *,
    steps: int,
    temperature: float,
    generator: torch.Generator,
) -> Float[np.ndarray, " P"]:
    """Mean return of each candidate over R dreams, which begin alike for all of them.

    Args:
        rnn: dreams.
        controller: what the candidates' weights mean.
        candidates: weights.
        latents: what is seen at the beginning.
        state: what is remembered then.
        steps: of a dream that does not end before.
        temperature: of the dreams.
        generator: of the dreams, on the network's device.
    """
    count, rollouts = len(candidates), len(latents)
    weights = torch.from_numpy(candidates).to(latents).unflatten(-1, controller.shape)

    def policy(seen: Tensor, hidden: Tensor) -> Tensor:
        each = (count, rollouts)
        return controller.act(weights, seen.unflatten(0, each), hidden.unflatten(0, each)).flatten(
            0, 1
        )

    dream = rnn.imagine(
        latents.repeat(count, 1),
        state.repeat(1, count, 1),
        policy,
        steps,
        generator=generator,
        temperature=temperature,
    )
    returns = dream.reward.sum(0).unflatten(0, (count, rollouts)).mean(-1)
    return returns.double().cpu().numpy()
