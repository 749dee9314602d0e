"""The probe table: what embeddings know of five games, beside what was published.

    python benchmarks/ram_probes.py [--games hero,venture] [--run RUN] [--vae FILE]

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226) and
its authors' code (mila-iqia/atari-representation-learning). A random agent plays 50,000 steps of
four frames in eight environments without sticky actions. A life is an episode; those of 64 steps or
fewer are left out, and so are variables of less than 0.6 nats. Frames are grey, 210 x 160. 70 % of
the episodes train, 10 % validate, 20 % test; test frames that occur in the others are left out. F1
is weighted over values and averaged over the five kinds of variables, so that the many do not
outweigh the few.

"published" is trained as there: Adam of 3e-4 on the features as they are, batches of 64, up to 100
epochs, which is not enough to converge. "probe" is `ngu.analysis.probes`, which whitens and
converges. Embeddings are kept in a folder of the system's temporary files, so that a second call
plays nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from random_agent import Frames, seen
from torch import nn

from ngu.analysis.estimate import NotMeasured
from ngu.analysis.probe_training import Split
from ngu.analysis.probes import ProbeResult, probe, split_episodes, weighted_f1
from ngu.bonuses import make_bonus
from ngu.nets import convolution, linear
from ngu.novelty.embedding import InverseDynamics
from ngu.parsing import parse
from ngu.parts import make_envs
from ngu.run_folder import RunFolder
from ngu.seeding import Seeds
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
LEAST_STEPS, LEAST_NATS = 64, 0.6
BATCH, EPOCHS, LEARNING_RATE, LEAST_RATE = 64, 100, 3e-4, 1e-5
LOWER_AFTER, STOP_AFTER = 5, 15
"""Epochs without a better validation: the learning rate falls to a fifth, training ends."""

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
    parser.add_argument("--run", type=Path, help="a run of one game, whose embedding is probed too")
    parser.add_argument("--vae", type=Path, help="an autoencoder of one game, probed too")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "ram_probes")
    known = parser.parse_args()
    torch.set_num_threads(1)
    encoders: dict[str, Encoder] = {"random CNN, 256": random_cnn()}
    if known.run is not None:
        encoders[f"{known.run.name}, inverse dynamics"] = embedding_of(known.run)
    if known.vae is not None:
        encoders[f"{known.vae.stem}, VAE"] = means_of(known.vae)
    columns = ("game", "embedding", "majority", "published training", "probe", "in the paper")
    print(("{:<18}" + "{:<28}" + "{:>20}" * 4).format(*columns))
    for game in known.games.split(","):
        for name, encoder in encoders.items():
            report(game, name, played(game, known.steps, name, encoder, known.cache))


def report(game: str, name: str, data: Played) -> None:
    """Prints a line of the table, and below it the variables."""
    begun = time.monotonic()
    lengths = np.bincount(data.episodes)
    kept = lengths[data.episodes] > LEAST_STEPS
    features, ram, episodes, pictures = (part[kept] for part in data)
    own = OWN.get(game, set())
    everything = {
        n: ram[:, b].astype(np.int64) for n, b in RAM_LABELS[game].items() if n not in own
    }
    labels = {n: values for n, values in everything.items() if nats(values) >= LEAST_NATS}
    split = split_episodes(episodes, Seeds(0).numpy("split"))
    assert split is not None
    seen = np.isin(pictures, pictures[~split.test])
    split = split._replace(test=split.test & ~seen)
    f1, majority = as_published(features, labels, episodes, split)
    results = probe(features, labels, episodes, pictures=pictures)
    ours = {n: r for n, r in results.items() if isinstance(r, ProbeResult)}
    said = majority, f1, {n: r.f1.value for n, r in ours.items()}
    line = [
        f"{over_kinds(by_name):.2f} ({np.mean(list(by_name.values())):.2f})" for by_name in said
    ]
    paper = "{:.2f}, majority {:.2f}".format(*PUBLISHED[game][::-1]) if "CNN" in name else ""
    print(f"{game:<18}{name:<28}" + "".join(f"{text:>20}" for text in (*line, paper)))
    for n in labels:
        r = results[n]
        ending = r.reason if isinstance(r, NotMeasured) else told(r)
        figures = f"{nats(labels[n]):.2f} nats, F1 {majority[n]:.2f} {f1[n]:.2f}"
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


def as_published(
    features: np.ndarray, labels: Mapping[str, np.ndarray], episodes: np.ndarray, split: Split
) -> tuple[dict[str, float], dict[str, float]]:
    """F1 of linear classifiers trained as in the paper, and of the most common values.

    Each state is drawn by drawing an episode first, so that short ones weigh as much as long ones.
    """
    generator = np.random.default_rng(0)
    _, place, lengths = np.unique(episodes, return_inverse=True, return_counts=True)
    weights = 1 / lengths[place]
    training, validation, test = (np.flatnonzero(part) for part in split)
    shares = weights[training] / weights[training].sum()
    ones = np.ones((len(features), 1), dtype=np.float32)
    inputs = torch.from_numpy(np.concatenate([features, ones], axis=1))
    classes = [np.unique(values, return_inverse=True)[1] for values in labels.values()]
    truth = torch.from_numpy(np.stack(classes))
    bound = 1 / math.sqrt(features.shape[1])
    sizes = [int(values.max()) + 1 for values in classes]
    probes = [
        torch.from_numpy(generator.uniform(-bound, bound, (inputs.shape[1], size))).float()
        for size in sizes
    ]
    groups = [{"params": [weight.requires_grad_()]} for weight in probes]
    optimiser = torch.optim.Adam(groups, lr=LEARNING_RATE, eps=1e-5, fused=True)
    best, since, lowered = ([0.0] * len(probes), [0] * len(probes), [0] * len(probes))
    first = torch.arange(BATCH)
    with torch.no_grad():
        for _ in range(EPOCHS):
            going = [k for k in range(len(probes)) if since[k] < STOP_AFTER]
            drawn = generator.choice(training, (len(training) // BATCH, BATCH), p=shares)
            for rows in torch.from_numpy(drawn):
                x = inputs[rows]
                for k in going:
                    error = torch.softmax(x @ probes[k], 1)
                    error[first, truth[k, rows]] -= 1
                    probes[k].grad = x.T @ error / BATCH
                optimiser.step()
            for k in going:
                said = (inputs[validation] @ probes[k]).argmax(1) == truth[k, validation]
                accuracy = float(np.average(said.numpy(), weights=weights[validation]))
                better = accuracy > best[k]
                best[k] = max(best[k], accuracy)
                since[k] = 0 if better else since[k] + 1
                lowered[k] = 0 if better else lowered[k] + 1
                if lowered[k] > LOWER_AFTER:
                    rate = optimiser.param_groups[k]["lr"]
                    optimiser.param_groups[k]["lr"] = max(rate / 5, LEAST_RATE)
                    lowered[k] = 0
                if since[k] >= STOP_AFTER:
                    probes[k].grad = None
        f1, majority = {}, {}
        for k, name in enumerate(labels):
            said = (inputs[test] @ probes[k]).argmax(1).numpy()
            common = np.full(len(test), np.bincount(classes[k][training]).argmax())
            f1[name] = scored(classes[k][test], said, weights[test], sizes[k])
            majority[name] = scored(classes[k][test], common, np.ones(len(test)), sizes[k])
    return f1, majority


def scored(true: np.ndarray, said: np.ndarray, weights: np.ndarray, size: int) -> float:
    """Weighted F1, where states count by their weights."""
    weights = weights / weights.mean()
    hit = true == said
    counts = [
        np.bincount(values[rows], weights=weights[rows], minlength=size)
        for values, rows in ((true, slice(None)), (said, slice(None)), (true, hit))
    ]
    return float(weighted_f1(np.stack(counts)[None])[0])


def random_cnn() -> Encoder:
    """The paper's encoder as it is initialised: 256 numbers, without a ReLU, of a grey frame."""
    generator = torch.Generator().manual_seed(0)
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
    network, resize = inverse.embedding, AreaResize(210)

    def encode(frames: Frames) -> np.ndarray:
        small = np.stack([resize(frame) for frame in grey(frames)])[:, None]
        with torch.inference_mode():
            return network(torch.from_numpy(small)).float().numpy()

    return encode


def means_of(path: Path) -> Encoder:
    """The means of an autoencoder's posteriors."""
    vae = ConvVAE.load(path)
    size = min(vae.observation_shape[:2])

    def encode(frames: Frames) -> np.ndarray:
        with torch.inference_mode():
            return vae.encode(torch.from_numpy(resized(frames, size))).mean.numpy()

    return encode


def grey(frames: Frames) -> np.ndarray:
    """Brightness as OpenCV's, uint8 [B, 210, 160]."""
    weights = torch.tensor([0.299, 0.587, 0.114])
    return (torch.from_numpy(frames).float() @ weights).round().to(torch.uint8).numpy()


def played(game: str, steps: int, name: str, encoder: Encoder, cache: Path) -> Played:
    """The embeddings of what a random agent sees, from the cache if they are there."""
    digest = hashlib.sha256(f"{game} {steps} {name}".encode()).hexdigest()[:8]
    path = cache / f"{game}-{digest}.npz"
    if not path.exists():
        parts: list[list[np.ndarray]] = [[], [], [], []]
        for frames, ram, episodes in seen(game, steps):
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
