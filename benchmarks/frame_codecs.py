"""Trains a codec of each game's frames in three stages; prints bits per pixel against quality.

    python benchmarks/frame_codecs.py [--games MontezumaRevenge,Pitfall,PrivateEye,Freeway]
        [--folder runs/codecs] [--updates 300,600,250,150,150] [--vae-epochs 0] [--shown 48]
        [--no-table]

Frames are those of benchmarks/game_frames.py: 4,000 to learn from and, of other episodes, those
that the table is about. Every picture of every codec is a file of its own, which is written, read
and decoded: bits are files' sizes. PSNR is the mean over pictures of 10 log10(255^2 / MSE).
Networks are kept in the folder, by game and stage, and not trained again.
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from game_frames import GameFrames, game_frames
from PIL import Image

from ngu.analysis.coding.frame_code import FrameCode
from ngu.analysis.coding.frame_learning import FrameLearning, FrameLearningConfig
from ngu.analysis.coding.scalar_code import fit_scalar_code, principal_axes
from ngu.analysis.coding.word_code import WordCode
from ngu.analysis.picture_quality import ms_ssim, psnr
from ngu.state_file import load_tree, save_tree
from ngu.world.vae import ConvVAE, VAEConfig
from ngu.world.vae_training import VAETraining, VAETrainingConfig

logger = logging.getLogger("benchmark")

GAMES = "MontezumaRevenge,Pitfall,PrivateEye,Freeway"
JPEG = (5, 10, 20, 40, 60, 75, 85, 95)
WEBP = (1, 20, 50, 75, 90)
STAGES = ("I", "II", "III")


def main() -> None:
    """Train what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument(
        "--vae-epochs", type=int, default=0, help="of the VAE, where there is none (%(default)s)"
    )
    parser.add_argument("--no-table", action="store_true", help="only train")
    known = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    for game in known.games.split(","):
        frames = game_frames(game, known.folder)
        learnings = trained(game, frames, known.folder, config_of(known.updates))
        if known.vae_epochs > 0:
            train_vae(game, frames.train, known.folder, known.vae_epochs)
        if not known.no_table:
            print_table(game, frames, learnings, known.folder, known.shown)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the benchmarks of codecs have in common."""
    parser.add_argument("--games", default=GAMES, help="(%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("runs/codecs"), help="(%(default)s)")
    parser.add_argument(
        "--updates", default="300,600,250,150,150", help="I, words, II, III, context (%(default)s)"
    )
    parser.add_argument("--shown", type=int, default=48, help="pictures coded (%(default)s)")


def config_of(updates: str) -> FrameLearningConfig:
    """How long codecs are trained."""
    first, words, second, third, context = (int(number) for number in updates.split(","))
    return FrameLearningConfig(
        autoencoder=first, words=words, transform=second, joint=third, adapted=context
    )


def trained(
    game: str, frames: GameFrames, folder: Path, config: FrameLearningConfig
) -> dict[str, FrameLearning]:
    """The codec after each stage; trained as far as the folder does not have it."""
    learnings = {}
    for stage in STAGES:
        learning = FrameLearning(frames.train, config, seed=0)
        path = folder / f"{game}-{stage}.safetensors"
        if path.exists():
            learning.load_state_dict(load_tree(path))
        else:
            if stage != "I":
                learning.load_state_dict(learnings[STAGES[STAGES.index(stage) - 1]].state_dict())
            begun = time.process_time()
            updates = {
                "I": learning.autoencoder,
                "II": learning.transforms,
                "III": learning.joint,
            }[stage]()
            for update, loss in enumerate(updates):
                if update % 100 == 0:
                    logger.info("%s %s: update %d, %.4f", game, stage, update, loss)
            seconds = time.process_time() - begun
            logger.info("%s %s: trained in %.0f s of one core", game, stage, seconds)
            save_tree(path, learning.state_dict())
        learnings[stage] = learning
    return learnings


def train_vae(game: str, pictures: np.ndarray, folder: Path, epochs: int) -> None:
    """Train the autoencoder of the world model, where the folder has none."""
    path = folder / f"vae-{game}.safetensors"
    if path.exists():
        return
    vae = ConvVAE(pictures.shape[1:], VAEConfig(latent_dim=32, filters=8, beta=0.3, free_nats=0.0))
    config = VAETrainingConfig(
        epochs=epochs, batch_size=32, learning_rate=1e-3, held_out_share=0.01
    )
    training = VAETraining(vae, pictures, config, seed=0)
    for metrics in training:
        if training.updates % 50 == 0:
            logger.info("%s VAE: update %d, %.1f", game, training.updates, metrics["loss"])
    vae.save(path)


def print_table(
    game: str, frames: GameFrames, learnings: dict[str, FrameLearning], folder: Path, shown: int
) -> None:
    """Print bits per pixel, PSNR and MS-SSIM of all codecs on held-out frames."""
    pictures = frames.held_out[:: max(1, len(frames.held_out) // shown)][:shown]
    print(f"\n{game}: {len(pictures)} held-out frames of 210 x 160", flush=True)
    print(f"{'codec':34} {'bits/pixel':>10} {'PSNR':>7} {'MS-SSIM':>8}")
    say("PNG", *pillow(pictures, "PNG", optimize=True), pictures)
    say("WebP, lossless", *pillow(pictures, "WEBP", lossless=True, method=6), pictures)
    for quality in sorted({*JPEG, near_one_bit(pictures)}):
        coded = pillow(pictures, "JPEG", quality=quality, optimize=True)
        say(f"JPEG, quality {quality}", *coded, pictures)
    for quality in WEBP:
        say(f"WebP, quality {quality}", *pillow(pictures, "WEBP", quality=quality), pictures)
    path = folder / f"vae-{game}.safetensors"
    if path.exists():
        for step in (0.5, 2.0):
            coded = by_vae(ConvVAE.load(path), frames.train, pictures, step)
            say(f"VAE, 32 latent numbers, step {step}", *coded, pictures)
    say("I: words, each by its share", *by_words(learnings["I"], frames.train, pictures), pictures)
    code = learnings["I"].word_code()
    say("I: words in context", *by_network(code, pictures), pictures)
    for stage in ("II", "III"):
        for code in learnings[stage].codes():
            say(f"{stage}, step {code.step}", *by_network(code, pictures), pictures)


def say(name: str, sizes: np.ndarray, decoded: np.ndarray, pictures: np.ndarray) -> None:
    """Print a codec's line."""
    pixels = pictures.shape[1] * pictures.shape[2]
    print(
        f"{name:34} {8 * sizes.mean() / pixels:10.4f} {psnr(pictures, decoded).mean():7.2f} "
        f"{ms_ssim(pictures, decoded).mean():8.4f}",
        flush=True,
    )


def pillow(pictures: np.ndarray, kind: str, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of each picture's file, and what it decodes to, by Pillow."""
    sizes, decoded = [], []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, **options)
        sizes.append(len(file.getvalue()))
        decoded.append(np.asarray(Image.open(file).convert("RGB")))
    return np.array(sizes), np.stack(decoded)


def near_one_bit(pictures: np.ndarray) -> int:
    """JPEG's greatest quality that takes at most one bit per pixel."""
    most = pictures.shape[1] * pictures.shape[2] / 8
    qualities = range(1, 96)
    sizes = [pillow(pictures, "JPEG", quality=each, optimize=True)[0].mean() for each in qualities]
    return qualities[int(np.sum(np.array(sizes) <= most)) - 1]


def by_network(code: FrameCode | WordCode, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by a trained codec's files, written and read."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, content in enumerate(code.encode(torch.from_numpy(pictures))):
            paths.append(Path(folder) / f"{number}.bin")
            paths[-1].write_bytes(content)
        sizes = np.array([path.stat().st_size for path in paths])
        decoded = code.reconstruct(code.decode([path.read_bytes() for path in paths]))
    if not torch.equal(decoded, code.approximate(torch.from_numpy(pictures))):
        raise RuntimeError("the files do not decode to what was coded")
    return sizes, decoded.numpy()


@torch.no_grad()
def by_words(
    learning: FrameLearning, train: np.ndarray, pictures: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Stage I by itself: each word by its share in training, as one file of all pictures."""
    vqvae = learning.vqvae

    def words(shown: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(shown).split(32)
        chosen = torch.cat([vqvae.snap(vqvae.encode(part)).chosen for part in parts])
        return chosen.reshape(-1, 1).numpy().astype(np.float64)

    some = words(train[::10])
    code = fit_scalar_code(principal_axes(some), some, 1.0)
    sizes = len(code.encode(code.quantise(words(pictures)))) / len(pictures)
    snapped = vqvae.snap(vqvae.encode(torch.from_numpy(pictures)))
    return np.array([sizes]), vqvae.shown(vqvae.decode(snapped.words)).numpy()


@torch.no_grad()
def by_vae(
    vae: ConvVAE, train: np.ndarray, pictures: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """The autoencoder's means, each principal component by itself, as one file of all pictures."""

    def means(shown: np.ndarray) -> np.ndarray:
        parts = torch.from_numpy(shown).split(32)
        return torch.cat([vae.encode(part).mean for part in parts]).numpy()

    some = means(train[::4])
    code = fit_scalar_code(principal_axes(some), some, step)
    content = code.encode(code.quantise(means(pictures)))
    latents = torch.from_numpy(code.reconstruct(code.decode(content))).float()
    return np.array([len(content) / len(pictures)]), vae.decode(latents).numpy()


if __name__ == "__main__":
    main()
