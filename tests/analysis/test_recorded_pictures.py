"""Frames for an autoencoder: of a run, or of a dataset in any size."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ngu.analysis.latents import image_statistics
from ngu.analysis.recorded_pictures import pictures_beside, pictures_of_dataset
from ngu.checkpoint import save_tree
from ngu.sentences import SettingsError
from ngu.world.convolutions import resized


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def as_png(picture):
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def write(path, frames, **columns):
    """A dataset of embeddings, frames and whole numbers."""
    table = {"embedding": [[float(i), 1.0] for i in range(len(frames))]}
    table |= {"frame": [as_png(frame) for frame in frames]} | columns
    pq.write_table(pa.table(table), path)


def test_of_a_run(tmp_path):
    pictures = noise(2100, 16, 16)
    save_tree(tmp_path / "pictures.safetensors", {"pictures": pictures})
    found = pictures_beside(tmp_path / "vae.safetensors", (16, 16))
    assert len(found.pictures) == 2000
    np.testing.assert_array_equal(found.pictures[[0, -1]], pictures[[0, -1]])
    np.testing.assert_array_equal(
        found.known["brightness"], image_statistics(found.pictures)["brightness"]
    )
    assert len(pictures_beside(tmp_path / "elsewhere" / "vae.safetensors", (16, 16)).pictures) == 0


def test_of_a_dataset(tmp_path):
    frames = noise(5, 16, 20, 3)
    write(tmp_path / "data.parquet", frames, room=[3, 1, 4, 1, 5])
    found = pictures_of_dataset(tmp_path / "data.parquet", (16, 20, 3))
    np.testing.assert_array_equal(found.pictures, frames)
    assert found.known.keys() == {"room"}
    assert found.known["room"].tolist() == [3, 1, 4, 1, 5]


def test_frames_are_brought_to_a_square_as_train_vae_does(tmp_path):
    frames = noise(5, 30, 20, 3)
    write(tmp_path / "data.parquet", frames)
    found = pictures_of_dataset(tmp_path / "data.parquet", (3, 16, 16))
    expected = resized(frames, 16).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(found.pictures, expected)
    assert "brightness" in found.known
    write(tmp_path / "grey.parquet", frames[..., 0])
    found = pictures_of_dataset(tmp_path / "grey.parquet", (16, 16))
    assert found.pictures.shape == (5, 16, 16)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((16, 21, 3), "must be 16 x 21 with 3 channels, as the autoencoder sees, got 16 x 20 with"),
        ((16, 16), "must be 16 x 16 with 1 channel, as the autoencoder sees, got 16 x 20 with 3"),
    ],
)
def test_frames_that_do_not_fit(tmp_path, shape, sentence):
    write(tmp_path / "data.parquet", noise(3, 16, 20, 3))
    with pytest.raises(SettingsError, match=sentence):
        pictures_of_dataset(tmp_path / "data.parquet", shape)


def test_data_without_frames_or_with_several_sizes(tmp_path):
    np.save(tmp_path / "data.npy", np.eye(3, dtype=np.float32))
    with pytest.raises(SettingsError, match=r"data\.npy holds no frames to show"):
        pictures_of_dataset(tmp_path / "data.npy", (16, 16))
    write(tmp_path / "data.parquet", [noise(16, 16), noise(16, 17)])
    with pytest.raises(SettingsError, match=r"the frames of .* must be of one size"):
        pictures_of_dataset(tmp_path / "data.parquet", (16, 16))
