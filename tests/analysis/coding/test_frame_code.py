import numpy as np
import pytest
import torch

from ngu.analysis.coding.bitstream import BitstreamError
from ngu.analysis.coding.frame_learning import FrameLearning, FrameLearningConfig
from ngu.analysis.coding.frame_transform import neighbours
from ngu.world.vq_vae import VQVAE, VQVAEConfig

SMALL = FrameLearningConfig(
    dim=6, steps=(0.2, 0.8), autoencoder=4, words=4, transform=4, joint=4, adapted=30
)


def screens(count, seed=0):
    """A striped screen with a square that is somewhere, 32 x 48."""
    generator = np.random.default_rng(seed)
    pictures = np.zeros((count, 32, 48, 3), np.uint8)
    pictures[:, ::8, :, 2] = 200
    for picture, row, column in zip(
        pictures, generator.integers(0, 24, count), generator.integers(0, 40, count), strict=True
    ):
        picture[row : row + 8, column : column + 8, 0] = 255
    return pictures


@pytest.fixture(scope="module")
def learning():
    pictures = screens(200)
    vqvae = VQVAE(pictures.shape[1:], VQVAEConfig(features=12, words=16))
    learning = FrameLearning(pictures, SMALL, seed=0, vqvae=vqvae)
    for stage in (learning.autoencoder(), learning.transforms()):
        for loss in stage:
            assert np.isfinite(loss)
    return learning


def test_blocks_are_told_by_those_beside_and_above():
    scores = torch.arange(1.0, 7.0).view(1, 2, 3, 1)  # 1 2 3 / 4 5 6
    beside = neighbours(scores)
    assert beside[0, 1, 1].tolist() == [4, 1, 2, 3]
    assert beside[0, 0, 0].tolist() == [0, 0, 0, 0]
    assert beside[0, 1, 2].tolist() == [5, 2, 3, 0]


def test_files_decode_to_exactly_what_was_coded(learning):
    other = torch.from_numpy(screens(5, seed=1))
    other[4] = torch.randint(0, 256, other[4].shape, generator=torch.Generator().manual_seed(0))
    for code in learning.codes():
        files = code.encode(other)
        hyper, integers = code.quantise(other)
        assert np.array_equal(code.decode(files), integers)
        assert np.array_equal(code.decode(files[2:3]), integers[2:3])
        sizes = np.array([8 * len(file) for file in files])
        assert np.abs(sizes - code.bits(hyper, integers)).max() < 0.01 * sizes.max() + 40


def test_smaller_steps_take_more_bits_and_err_less(learning):
    other = torch.from_numpy(screens(20, seed=1))
    bits, errors = [], []
    for code in learning.codes():
        hyper, integers = code.quantise(other)
        bits.append(code.bits(hyper, integers).mean())
        errors.append((code.reconstruct(integers).float() - other.float()).square().mean())
    assert bits[0] > bits[1]
    assert errors[0] < errors[1]


def test_all_stages_end_in_a_codec_that_knows_its_pictures(learning):
    other = torch.from_numpy(screens(20, seed=1))
    for loss in learning.joint():
        assert np.isfinite(loss)
    code = learning.codes()[0]
    hyper, integers = code.quantise(other)
    error = (code.reconstruct(integers).float() - other.float()).square().mean()
    assert error < 0.5 * (other.float() - other.float().mean(0)).square().mean()
    assert code.bits(hyper, integers).mean() < 32 * 48


def test_damaged_files_get_a_sentence(learning):
    code = learning.codes()[1]
    (file,) = code.encode(torch.from_numpy(screens(1)))
    with pytest.raises(BitstreamError, match="cut off or damaged"):
        code.decode([file[:-1]])
    with pytest.raises(BitstreamError, match="no picture of this code"):
        code.decode([b"\x89PNG" + file])
