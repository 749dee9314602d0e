"""What embeds the states that are scored, so that one memory never holds two networks' embeddings.

Source: Never Give Up (arXiv 2002.06038), appendix F: an actor's embedding changes once an episode.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from ngu.novelty.embedding import LastInFloat32


class VersionUse:
    """Which version each environment uses, and which is the newest.

    Args:
        num_envs: Environments, E.
    """

    def __init__(self, num_envs: int) -> None:
        self.newest = 0
        self.version_of = np.zeros(num_envs, dtype=np.int64)

    def state_dict(self) -> dict[str, Any]:
        """Return both."""
        return {"newest": self.newest, "version_of": torch.from_numpy(self.version_of.copy())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set what `state_dict` returned."""
        self.newest = int(state["newest"])
        self.version_of[:] = state["version_of"].numpy()


Network = TypeVar("Network", bound=nn.Module)


class Versions(nn.Module, Generic[Network]):
    """Frozen copies of a network, of which each environment keeps one for as long as a memory.

    Distances between two networks' embeddings would mean nothing. `publish` copies the network's
    newest weights to where no environment uses the ones they replace; while there is no such place,
    they wait for a later call.

    Args:
        network: What is trained, here or elsewhere.
        num_envs: Environments, E.
        versions: Copies kept side by side.
        dtype: What the convolutions of the library's own networks compute in.
    """

    def __init__(
        self, network: Network, num_envs: int, *, versions: int, dtype: torch.dtype
    ) -> None:
        super().__init__()
        # Not a submodule: it belongs to whoever trains it.
        self._network = [network]
        self.num_envs = num_envs
        self.versions = nn.ModuleList(frozen(network, dtype) for _ in range(versions))
        self.use = VersionUse(num_envs)

    @torch.no_grad()
    def publish(self) -> None:
        """Make the network's newest weights those that memories begin with from now on."""
        free = np.setdiff1d(np.arange(len(self.versions)), self.use.version_of)
        if free.size:
            self.use.newest = int(free[0])
            copy_weights(self.trained, self.versions[self.use.newest])

    @property
    def trained(self) -> Network:
        """The network itself, which is trained."""
        return self._network[0]

    def renew(self, where: Bool[np.ndarray, " E"]) -> None:
        """Give the newest version to the environments whose memories begin anew."""
        self.use.version_of[where] = self.use.newest

    def rows_by_version(
        self, where: Bool[np.ndarray, " E"]
    ) -> Iterator[tuple[Network, Int[np.ndarray, " rows"]]]:
        """Each version that environments in ``where`` use, with those environments."""
        version_of = self.use.version_of
        for version in np.unique(version_of[where]).tolist():
            network = cast(Network, self.versions[version])
            yield network, np.flatnonzero(where & (version_of == version))


class Encoder(Versions[nn.Module]):
    """The versions of an embedding network.

    Args:
        network: Maps [B, *shape] to float32 [B, size].
        size: Width of the embedding, D.
        num_envs, versions, dtype: As for `Versions`.
    """

    def __init__(
        self, network: nn.Module, size: int, num_envs: int, *, versions: int, dtype: torch.dtype
    ) -> None:
        super().__init__(network, num_envs, versions=versions, dtype=dtype)
        self.size = size

    def newest(self, obs: Shaped[Tensor, "batch *shape"]) -> Float[Tensor, "batch D"]:
        """Return the embeddings by the newest version, where no memory is kept."""
        return self.versions[self.use.newest](obs)

    def forward(
        self, obs: Shaped[Tensor, "E *shape"], where: Bool[np.ndarray, " E"]
    ) -> Float[Tensor, "E D"]:
        """Return each environment's embedding by its own version; rows not in ``where`` are 0."""
        embeddings = torch.zeros(self.num_envs, self.size, device=obs.device)
        for network, envs in self.rows_by_version(where):
            if len(envs) == self.num_envs:
                return network(obs)
            rows = torch.from_numpy(envs).to(obs.device)
            embeddings[rows] = network(obs[rows])
        return embeddings


def frozen(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy that nothing trains, its convolutions in another precision."""
    copied = copy.deepcopy(network).requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, LastInFloat32):
            module.trunk.to(dtype)
    return copied


@torch.no_grad()
def copy_weights(source: nn.Module, destination: nn.Module) -> None:
    """Copy all parameters and buffers, converted to the dtype that they are held in."""
    for kind in (nn.Module.parameters, nn.Module.buffers):
        for new, old in zip(kind(source), kind(destination), strict=True):
            old.copy_(new)
