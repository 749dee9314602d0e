"""Networks that predict the embedding of the next state, whose errors tell what is not known yet.

Sources: Pathak et al., 2017 (arXiv 1705.05363), section 2.2; Pathak et al., 2019 (arXiv 1906.04161)
for the ensemble.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ngu.nets import linear
from ngu.novelty.encoder import copy_weights, frozen

HIDDEN = 256
"""Width of a forward model's hidden layer."""


class ForwardModels(nn.Module):
    """M networks with one hidden layer that read an embedding and an action.

    A training side and a frozen copy that scores; `publish` hands the weights over.

    Args:
        size: Width of the embedding, D.
        action_size: Width of an encoded action, A.
        models: How many, M.
        outputs: Width P of what they predict; None: that of the embedding.
        generator: Draws the weights; a CPU one.
        device: Where they compute.
    """

    def __init__(
        self,
        size: int,
        action_size: int,
        models: int,
        *,
        outputs: int | None = None,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.trained = nn.ModuleList(
            nn.Sequential(
                linear(size + action_size, HIDDEN, generator=generator),
                nn.ReLU(),
                linear(HIDDEN, outputs or size, generator=generator, gain=1.0),
            )
            for _ in range(models)
        ).to(device)
        self.scoring = frozen(self.trained, torch.float32)

    def publish(self) -> None:
        """Hand the newest weights to the scoring side."""
        copy_weights(self.trained, self.scoring)

    def predict(
        self, embedding_tm1: Float[Tensor, "batch D"], action_tm1: Float[Tensor, "batch A"]
    ) -> Float[Tensor, "M batch P"]:
        """Return the scoring side's predictions of the next embedding."""
        return _predictions(self.scoring, embedding_tm1, action_tm1)

    def loss(
        self,
        embedding_tm1: Float[Tensor, "batch D"],
        action_tm1: Float[Tensor, "batch A"],
        embedding_t: Float[Tensor, "batch P"],
    ) -> Float[Tensor, ""]:
        """Return half the squared norm of the error, averaged over models and transitions.

        The embedding is not trained by it: it is told by the actions what matters, not by what can
        be predicted easily.
        """
        predictions = _predictions(self.trained, embedding_tm1.detach(), action_tm1)
        return 0.5 * (predictions - embedding_t.detach()).square().sum(-1).mean()


def _predictions(models: nn.Module, embedding: Tensor, action: Tensor) -> Tensor:
    read = torch.cat((embedding, action), dim=-1)
    with torch.autocast(read.device.type, enabled=False):
        return torch.stack([model(read) for model in models.children()])
