"""What is written is what is read, part by part; a part is whole or not there."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ngu.analysis import load
from ngu.analysis.dataset_file import About, DatasetWriter, read_about
from ngu.sentences import SettingsError
from ngu.states import encoded

ABOUT = About("maze", "random", "a random network", {"room": "number of the room"}, {"seed": 3})
N, D, K = 50, 3, 2


def columns(seed=0, count=N):
    generator = np.random.default_rng(seed)
    step = np.arange(count) % 10
    action = np.ma.masked_array(generator.integers(0, 4, count), step == 0)
    return {
        "episode": np.arange(count) // 10,
        "step": step,
        "action": action,
        "reward": generator.normal(size=count).astype(np.float32),
        "embedding": generator.normal(size=(count, D)).astype(np.float32),
        "neighbour_step": generator.integers(-1, 5, (count, K)),
        "neighbour_squared_distance": generator.random((count, K), np.float32),
        "neighbour_kernel": generator.random((count, K), np.float32),
        "label_room": generator.integers(0, 4, count),
        "ram": generator.integers(0, 255, (count, 128), np.uint8),
        "frame": [encoded(p) for p in generator.integers(0, 255, (count, 6, 5, 3), np.uint8)],
    }


def written(folder, size=7, rows_per_part=16):
    writer = DatasetWriter(folder, ABOUT, rows_per_part=rows_per_part)
    whole = columns()
    for begin in range(0, N, size):
        writer.add({name: values[begin : begin + size] for name, values in whole.items()})
    assert writer.rows == N
    return writer, whole


@pytest.mark.parametrize("limit", [None, 20])
def test_what_is_written_is_read(tmp_path, limit):
    writer, whole = written(tmp_path / "out")
    writer.close()
    data = load(tmp_path / "out", limit=limit)
    rows = data.episodes * 10 + data.steps
    assert len(rows) == (limit or N)
    assert data.rows == N
    np.testing.assert_array_equal(data.embeddings, whole["embedding"][rows])
    np.testing.assert_array_equal(data.figures["reward"], whole["reward"][rows])
    assert set(data.labels) == {"room"}  # neither actions nor memory are labels
    np.testing.assert_array_equal(data.labels["room"], whole["label_room"][rows])
    for name, values in zip(data.neighbours.__dataclass_fields__, range(3), strict=True):
        column = list(whole)[5 + values]
        np.testing.assert_array_equal(getattr(data.neighbours, name), whole[column][rows])
    assert len(data.frames) == len(rows)
    for index in (0, len(rows) - 1, 13):
        assert data.frames.encoded(index) == whole["frame"][rows[index]]
        assert data.frames[index].shape == (6, 5, 3)


def test_other_tools_read_it_too(tmp_path):
    writer, whole = written(tmp_path / "out")
    writer.close()
    table = pd.read_parquet(tmp_path / "out")
    np.testing.assert_array_equal(np.stack(table["embedding"]), whole["embedding"])
    np.testing.assert_array_equal(np.stack(table["ram"]), whole["ram"])
    np.testing.assert_array_equal(table["action"].isna(), whole["action"].mask)
    assert read_about(tmp_path / "out") == ABOUT
    assert read_about(tmp_path / "out" / "part-000000.parquet") == ABOUT


def test_parts_are_whole_from_the_moment_that_they_are_there(tmp_path):
    writer, whole = written(tmp_path / "out")
    parts = sorted((tmp_path / "out").iterdir())
    assert [pq.read_metadata(part).num_rows for part in parts] == [16, 16, 16]
    assert [pq.read_metadata(part).num_row_groups for part in parts] == [1, 1, 1]
    # As if the process had been killed here, in the middle of the next file.
    (tmp_path / "out" / ".part-000003.parquet.tmp").write_bytes(b"half of a file")
    data = load(tmp_path / "out")
    np.testing.assert_array_equal(data.embeddings, whole["embedding"][:48])
    writer.close()
    assert load(tmp_path / "out").rows == N


def test_a_part_cut_off_in_the_middle_is_named(tmp_path):
    writer, _ = written(tmp_path / "out")
    writer.close()
    part = tmp_path / "out" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(SettingsError, match=r"part-000001\.parquet is no whole Parquet file"):
        load(tmp_path / "out")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name in ("file", "full"):
        with pytest.raises(FileExistsError, match="exists and is not empty"):
            DatasetWriter(tmp_path / name, ABOUT)


def test_what_is_no_dataset_of_ours_is_told(tmp_path):
    pd.DataFrame({"z": [1.0, 2.0]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(SettingsError, match=r"no dataset that ngu\.record wrote"):
        read_about(tmp_path / "other.parquet")
    later = DatasetWriter(tmp_path / "later", About("e", "a", "k", version=2))
    later.add(columns())
    later.close()
    for read in (read_about, load):
        with pytest.raises(SettingsError, match="dataset of version 2, expected 1"):
            read(tmp_path / "later")


def test_a_frame_that_is_no_picture_is_told(tmp_path):
    whole = columns() | {"frame": [b"nothing"] * N}
    writer = DatasetWriter(tmp_path / "out", ABOUT)
    writer.add(whole)
    writer.close()
    frames = load(tmp_path / "out").frames
    with pytest.raises(SettingsError, match="a frame is no picture"):
        frames[3]
    with pytest.raises(IndexError):
        frames[N]
