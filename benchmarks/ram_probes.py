"""The probe table: what embeddings know of five games, beside what was published.

    python benchmarks/ram_probes.py [--games hero,venture] [--draw 1] [--run RUN] [--vae FILE]

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226) and
its authors' code (mila-iqia/atari-representation-learning). A random agent plays 50,000 steps of
four frames in eight environments without sticky actions. A life is an episode; those of 64 steps or
fewer are left out, and so are variables of less than 0.6 nats. Frames are grey, 210 x 160. In the
order of play, 70 % of the episodes train, 10 % validate, 20 % test; test frames that occur in the
others are left out. F1 is weighted over values and averaged over the five kinds of variables, so
that the many do not outweigh the few.

"majority" always says training's most common value; "mispaired" does so with the labels that an
earlier version of the authors' code would have compared. "published" is trained as there: Adam of
3e-4 on the features as they are, batches of 64, up to 100 epochs, which is not enough to converge.
"probe" is `ngu.analysis.probes`, which whitens and converges, on random episodes. Embeddings are
kept in a folder of the system's temporary files, so that a second call plays nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from published_probes import LEAST_STEPS, as_published, in_order, mispaired_majority
from random_agent import Frames, seen
from torch import nn

from ngu.analysis.estimate import NotMeasured
from ngu.analysis.probes import ProbeResult, probe
from ngu.bonuses import make_bonus
from ngu.nets import convolution, linear
from ngu.novelty.embedding import InverseDynamics
from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.run_folder import RunFolder
from ngu.world.convolutions import resized
from ngu.world.vae import ConvVAE
from ngu_envs.atari_frames import AreaResize
from ngu_envs.atari_ram import OWN, RAM_LABELS

PUBLISHED = {
    "montezuma_revenge": (0.08, 0.68),
    "pitfall": (0.07, 0.34),
    "private_eye": (0.23, 0.70),
    "venture": (0.09, 0.36),
    "hero": (0.22, 0.75),
}
"""F1 of the most common value and of a random network, from the paper's table 2."""
STEPS = 50_000
LEAST_NATS = 0.6

Encoder = Callable[[Frames], np.ndarray]


class Played(NamedTuple):
    """What was seen in N steps."""

    features: np.ndarray
    """float32 [N, D]."""
    ram: np.ndarray
    """uint8 [N, 128]."""
    episodes: np.ndarray
    """int64 [N]."""
    pictures: np.ndarray
    """The same number for the same frame, int64 [N]."""


def main() -> None:
    """Plays, encodes, probes and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--games", default=",".join(PUBLISHED), help="(%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="played (%(default)s)")
    parser.add_argument("--draw", type=int, default=0, help="which play of the game (%(default)s)")
    parser.add_argument(
        "--network", type=int, default=0, help="seed of the random network (%(default)s)"
    )
    parser.add_argument("--run", type=Path, help="a run of one game, whose embedding is probed too")
    parser.add_argument("--vae", type=Path, help="an autoencoder of one game, probed too")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ram_probes")
    known = parser.parse_args()
    torch.set_num_threads(1)
    encoders: dict[str, Encoder] = {f"random CNN {known.network}, 256": random_cnn(known.network)}
    if known.run is not None:
        encoders[f"{known.run.name}, inverse dynamics"] = embedding_of(known.run)
    if known.vae is not None:
        encoders[f"{known.vae.stem}, VAE"] = means_of(known.vae)
    columns = ("majority", "mispaired", "published training", "probe", "in the paper")
    print(("{:<18}{:<28}" + "{:>20}" * len(columns)).format("game", "embedding", *columns))
    for game in known.games.split(","):
        for name, encoder in encoders.items():
            data = played(game, known.steps, known.draw, name, encoder, known.cache)
            report(game, name, data)


def report(game: str, name: str, data: Played) -> None:
    """Prints a line of the table, and below it the variables with the F1 of each column."""
    begun = time.monotonic()
    kept = np.bincount(data.episodes)[data.episodes] > LEAST_STEPS
    features, ram, episodes, pictures = (part[kept] for part in data)
    own = OWN.get(game, set())
    places = {
        n: byte
        for n, byte in RAM_LABELS[game].items()
        if n not in own and nats(ram[:, byte]) >= LEAST_NATS
    }
    labels = {n: ram[:, byte].astype(np.int64) for n, byte in places.items()}
    split = in_order(episodes, pictures)
    f1, majority = as_published(features, labels, episodes, split)
    mispaired = mispaired_majority(data.ram, data.episodes, data.pictures, places)
    results = probe(features, labels, episodes, pictures=pictures)
    ours = {n: r.f1.value for n, r in results.items() if isinstance(r, ProbeResult)}
    line = [
        f"{over_kinds(by_name):.2f} ({np.mean(list(by_name.values())):.2f})"
        for by_name in (majority, mispaired, f1, ours)
    ]
    paper = "{:.2f}, majority {:.2f}".format(*PUBLISHED[game][::-1]) if "CNN" in name else ""
    print(f"{game:<18}{name:<28}" + "".join(f"{text:>20}" for text in (*line, paper)))
    for n, values in labels.items():
        r = results[n]
        ending = r.reason if isinstance(r, NotMeasured) else told(r)
        figures = f"{nats(values):.2f} nats, F1 {majority[n]:.2f} {mispaired[n]:.2f} {f1[n]:.2f}"
        print(f"    {n:<26}{figures}  {ending}")
    print(
        f"    {kept.sum()} steps, {len(np.unique(episodes))} episodes, {split.test.sum()} tested, "
        f"{time.monotonic() - begun:.0f} s",
        flush=True,
    )


def told(result: ProbeResult) -> str:
    """A probe's F1 with its interval, and R2."""
    f1, r2 = result.f1, result.r2
    interval = "" if f1.low is None else f" ({f1.low:.2f} to {f1.high:.2f})"
    return f"{f1.value:.2f}{interval}" + (
        "" if isinstance(r2, NotMeasured) else f", R2 {r2.value:.2f}"
    )


def nats(values: np.ndarray) -> float:
    """Entropy of a variable."""
    shares = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(shares * np.log(shares)).sum())


def kind(name: str) -> str:
    """To which of the paper's kinds a variable belongs."""
    if name.endswith(("_x", "_y")) or "_x_" in name:
        return "agent" if name.startswith("player") else "other objects"
    words = ("score", "clock", "lives", "meter", "display")
    return "score, clock, lives" if any(word in name for word in words) else "rest"


def over_kinds(f1: Mapping[str, float]) -> float:
    """The mean over kinds of the means over their variables."""
    kinds: dict[str, list[float]] = {}
    for name, value in f1.items():
        kinds.setdefault(kind(name), []).append(value)
    return float(np.mean([np.mean(values) for values in kinds.values()]))


def random_cnn(seed: int) -> Encoder:
    """The paper's encoder as it is initialised: 256 numbers, without a ReLU, of a grey frame."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    channels = 1
    for width, size, stride in ((32, 8, 4), (64, 4, 2), (128, 4, 2), (64, 3, 1)):
        layers += [convolution(channels, width, size, stride, generator=generator), nn.ReLU()]
        channels = width
    layers += [nn.Flatten(), linear(64 * 9 * 6, 256, generator=generator)]
    network = nn.Sequential(*layers)

    def encode(frames: Frames) -> np.ndarray:
        pictures = torch.from_numpy(grey(frames))[:, None].float() / 255
        with torch.inference_mode():
            return network(pictures.contiguous(memory_format=torch.channels_last)).numpy()

    return encode


def embedding_of(run: Path) -> Encoder:
    """The embedding of a run's intrinsic reward, of single frames of 84 x 84."""
    folder = RunFolder.open(run)
    settings, _, _ = parse([], "ram_probes", base=folder.path / "config.yaml")
    _, state = folder.checkpoints.latest()
    envs = make_envs(settings, 1, 0)
    spaces = envs.single_observation_space, envs.single_action_space
    envs.close()
    bonus = make_bonus(
        settings.bonus,
        *spaces,
        1,
        config=settings.novelty,
        device=torch.device("cpu"),
        precision="float32",
    )
    inverse = getattr(bonus, "inverse_dynamics", None)
    if bonus is None or not isinstance(inverse, InverseDynamics) or spaces[0].shape != (1, 84, 84):
        raise SystemExit(
            f"{run} must learn an embedding of single 84 x 84 frames by inverse dynamics"
        )
    bonus.load_learned(state["session"]["agent"]["bonus"])
    network = inverse.embedding

    def encode(frames: Frames) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(observed(frames))).float().numpy()

    return encode


def means_of(path: Path) -> Encoder:
    """The means of an autoencoder's posteriors."""
    vae = ConvVAE.load(path)
    channels, _, size = vae.observation_shape
    if channels != 1:
        raise SystemExit(f"{path} must be an autoencoder of an Atari game's observations")

    def encode(frames: Frames) -> np.ndarray:
        with torch.inference_mode():
            return vae.encode(torch.from_numpy(resized(observed(frames), size))).mean.numpy()

    return encode


def observed(frames: Frames) -> np.ndarray:
    """What agents of this library see of frames, uint8 [B, 1, 84, 84]."""
    resize = AreaResize(210)
    return np.stack([resize(frame) for frame in grey(frames)])[:, None]


def grey(frames: Frames) -> np.ndarray:
    """Brightness as OpenCV's, uint8 [B, 210, 160]."""
    weights = torch.tensor([0.299, 0.587, 0.114])
    return (torch.from_numpy(frames).float() @ weights).round().to(torch.uint8).numpy()


def played(game: str, steps: int, draw: int, name: str, encoder: Encoder, cache: Path) -> Played:
    """The embeddings of what a random agent sees, from the cache if they are there."""
    digest = hashlib.sha256(f"{game} {steps} {draw} {name}".encode()).hexdigest()[:8]
    path = cache / f"{game}-{digest}.npz"
    if not path.exists():
        parts: list[list[np.ndarray]] = [[], [], [], []]
        for frames, ram, episodes in seen(game, steps, draw):
            words = [hashlib.sha256(frame).digest()[:8] for frame in grey(frames)]
            pictures = np.frombuffer(b"".join(words), np.int64)
            for part, values in zip(parts, (encoder(frames), ram, episodes, pictures), strict=True):
                part.append(values)
        cache.mkdir(parents=True, exist_ok=True)
        features, ram, episodes, pictures = map(np.concatenate, parts)
        np.savez(path, features=features, ram=ram, episodes=episodes, pictures=pictures)
    with np.load(path, allow_pickle=False) as arrays:
        return Played(*(arrays[field] for field in Played._fields))


if __name__ == "__main__":
    main()
