import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ngu.checkpoint import save_tree
from ngu.frames import collect, read_pictures
from ngu.run_folder import RunFolder
from ngu.sentences import SettingsError
from ngu.world.convolutions import resized
from ngu_envs import make


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_what_environments_show():
    envs = make("disco-maze", 3, 0, size=21)
    shown = [
        pictures for pictures, _ in zip(collect(envs, size=64, seed=0), range(5), strict=False)
    ]
    again = make("disco-maze", 3, 0, size=21)
    same = [
        pictures for pictures, _ in zip(collect(again, size=64, seed=0), range(5), strict=False)
    ]
    assert shown[0].shape == (3, *envs.single_observation_space.shape)  # a grid keeps its size
    np.testing.assert_array_equal(shown, same)
    assert len(np.unique(shown, axis=0)) > 1


def test_vectors_are_no_pictures():
    envs = make("CartPole-v1", 2, 0)
    with pytest.raises(SettingsError, match="observations must be pictures of bytes, got Box"):
        next(collect(envs, size=64, seed=0))


def test_a_recorded_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr("ngu.frames._AT_ONCE", 2)
    pictures = noise(5, 30, 20, 3)
    encoded = []
    for picture in pictures:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "png")
        encoded.append(buffer.getvalue())
    (tmp_path / "states").mkdir()
    table = pa.table({"embedding": np.eye(5).tolist(), "frame": encoded})
    pq.write_table(table, tmp_path / "states" / "part.parquet")
    np.testing.assert_array_equal(read_pictures(tmp_path / "states", 9, None), pictures)
    np.testing.assert_array_equal(
        read_pictures(tmp_path / "states" / "part.parquet", 5, 16), resized(pictures, 16)
    )
    assert len(read_pictures(tmp_path / "states", 3, 16)) == 3
    pq.write_table(table.drop_columns("frame"), tmp_path / "states" / "part.parquet")
    with pytest.raises(SettingsError, match="states holds no frames"):
        read_pictures(tmp_path / "states", 9, None)


def test_a_file_of_pictures(tmp_path):
    pictures = noise(20, 32, 48, 3)
    np.savez(tmp_path / "one.npz", pictures)
    np.savez(tmp_path / "two.npz", other=noise(3), images=pictures)
    for name in ("one.npz", "two.npz"):
        np.testing.assert_array_equal(read_pictures(tmp_path / name, 5, None), pictures[-5:])
    assert read_pictures(tmp_path / "one.npz", 50, 16).shape == (20, 16, 16, 3)


def test_a_replay_of_pictures(tmp_path):
    folder = RunFolder.create(tmp_path / "run", config="", seed=0)
    pictures = noise(8, 2, 1, 40, 40)
    (folder.checkpoints.folder / "replay").mkdir(parents=True)
    for first, parts in ((0, [pictures[:5]]), (5, [pictures[5:6], pictures[6:]])):
        name = f"slots-{first:012d}-{first + 5:012d}-0.safetensors"
        tree = {"columns": {"observation": parts, "action": np.zeros(3)}}
        save_tree(folder.checkpoints.folder / "replay" / name, tree)
    flat = pictures.reshape(16, 1, 40, 40)
    np.testing.assert_array_equal(read_pictures(folder.path, 100, None), flat)
    np.testing.assert_array_equal(read_pictures(folder.path, 3, None), flat[-3:])


def test_where_no_pictures_are(tmp_path):
    def refused(sentence, path, error=SettingsError):
        with pytest.raises(error, match=sentence):
            read_pictures(tmp_path / path, 10, None)

    refused("no such file|No such file", "nothing.npz", FileNotFoundError)
    np.savez(tmp_path / "floats.npz", np.zeros((4, 32, 32)))
    refused(r"uint8 \[N, H, W\].*, got float64 \[4, 32, 32\]", "floats.npz")
    np.savez(tmp_path / "several.npz", a=noise(2), b=noise(2))
    refused(r"one array, or one called images; it holds \['a', 'b'\]", "several.npz")
    np.save(tmp_path / "single.npy", noise(4, 32, 32))
    refused("is no whole .npz file", "single.npy")
    np.savez(tmp_path / "objects.npz", np.array([{}], dtype=object))
    refused("is no .npz file of numbers: Object arrays cannot be loaded", "objects.npz")
    (tmp_path / "text.npz").write_text("pictures")
    refused("is no whole .npz file", "text.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "floats.npz").read_bytes()[:2000])
    refused("is no whole .npz file", "cut.npz")
    (tmp_path / "empty").mkdir()
    refused("is no run folder", "empty", FileNotFoundError)
    run = RunFolder.create(tmp_path / "run", config="", seed=0)
    refused("has no replay in its checkpoints", run.path.name)
