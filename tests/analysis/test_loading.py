"""Embeddings of any origin come out the same, and what is none of them gets a sentence."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ngu.analysis import load
from ngu.sentences import SettingsError

COUNT, WIDTH = 1_000, 4
GENERATOR = np.random.default_rng(0)
EMBEDDINGS = GENERATOR.normal(size=(COUNT, WIDTH)).astype(np.float32)
# Two environments' episodes, whose rows take turns.
EPISODES = np.arange(COUNT) // 40 * 2 + np.arange(COUNT) % 2
ROOMS = GENERATOR.integers(0, 5, COUNT)
REWARDS = GENERATOR.normal(size=COUNT).astype(np.float32)
STDS = GENERATOR.uniform(0.1, 1, EMBEDDINGS.shape).astype(np.float32)


def _npy(path, order="C"):
    np.save(path, np.asarray(EMBEDDINGS, order=order))


def _npz(path, save=np.savez, order="C"):
    embeddings = np.asarray(EMBEDDINGS, order=order)
    stds = np.asarray(STDS, order=order)
    save(path, embeddings=embeddings, std=stds, episodes=EPISODES, room=ROOMS, reward=REWARDS)


def _fixed(matrix):
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), WIDTH)


def _parquet(path, **embedding):
    columns = {**embedding, "episode": EPISODES, "room": ROOMS}
    pq.write_table(pa.table(columns), path, row_group_size=300)


WRITERS = {
    "array.npy": _npy,
    "fortran.npy": lambda path: _npy(path, "F"),
    "plain.npz": _npz,
    "fortran.npz": lambda path: _npz(path, order="F"),
    "compressed.npz": lambda path: _npz(path, np.savez_compressed),
    "fixed.parquet": lambda path: _parquet(
        path, embedding_std=_fixed(STDS), embedding=_fixed(EMBEDDINGS)
    ),
    "lists.parquet": lambda path: _parquet(path, vector=EMBEDDINGS.tolist(), stds=STDS.tolist()),
    "columns.parquet": lambda path: _parquet(
        path, **{f"z{i}": EMBEDDINGS[:, i] for i in range(WIDTH)}
    ),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("limit", [None, 500])
def test_a_file_read_in_pieces_gives_what_the_array_gives(name, limit, tmp_path, monkeypatch):
    monkeypatch.setattr("ngu.analysis.array_files._PIECE", 999)
    monkeypatch.setattr("ngu.analysis.parquet_files._BATCH", 77)
    WRITERS[name](tmp_path / name)
    known = {"labels": {"room": ROOMS}, "episodes": EPISODES, "stds": STDS}
    array = load(EMBEDDINGS, limit=limit, seed=3, **known)
    given = known if name.endswith("npy") else {}
    data = load(tmp_path / name, limit=limit, seed=3, **given)
    np.testing.assert_array_equal(data.embeddings, array.embeddings)
    if name == "columns.parquet":
        assert data.stds is None
    else:
        np.testing.assert_array_equal(data.stds, array.stds)
    np.testing.assert_array_equal(data.episodes, array.episodes)
    np.testing.assert_array_equal(data.steps, array.steps)
    np.testing.assert_array_equal(data.labels["room"], array.labels["room"])
    assert data.rows == COUNT
    assert data.source == str(tmp_path / name)


def test_states_stand_episode_after_episode_each_in_order():
    data = load(EMBEDDINGS, labels={"row": np.arange(COUNT)}, episodes=EPISODES, stds=STDS)
    rows = data.labels["row"]
    np.testing.assert_array_equal(data.embeddings, EMBEDDINGS[rows])
    np.testing.assert_array_equal(data.stds, STDS[rows])
    np.testing.assert_array_equal(data.episodes, np.repeat(np.arange(50), 20))
    np.testing.assert_array_equal(data.steps, np.tile(np.arange(20), 50))
    assert (np.diff(rows.reshape(50, 20)) == 2).all()


def test_numbers_of_episodes_say_nothing_of_their_order():
    data = load(EMBEDDINGS[:4], episodes=[9, 9, -2, -2])
    np.testing.assert_array_equal(data.embeddings, EMBEDDINGS[:4])
    np.testing.assert_array_equal(data.episodes, [9, 9, -2, -2])


def test_of_too_many_states_whole_episodes_are_drawn():
    data = load(EMBEDDINGS, episodes=EPISODES, limit=410)
    assert len(data.embeddings) == 400
    _, lengths = np.unique(data.episodes, return_counts=True)
    assert (lengths == 20).all()
    assert data.sampling == ("400 of 1,000 rows: 20 of 50 episodes, drawn whole, held in memory")
    other = load(EMBEDDINGS, episodes=EPISODES, limit=410, seed=1)
    assert set(other.episodes) != set(data.episodes)


def test_of_long_episodes_consecutive_states_are_drawn():
    data = load(
        EMBEDDINGS, labels={"row": np.arange(COUNT)}, episodes=np.arange(COUNT) // 500, limit=200
    )
    np.testing.assert_array_equal(data.episodes, np.repeat([0, 1], 100))
    rows = data.labels["row"].reshape(2, 100)
    assert (np.diff(rows) == 1).all()
    np.testing.assert_array_equal(data.steps.reshape(2, 100), rows - [[0], [500]])
    assert "2 of which there are 100 consecutive rows" in data.sampling


def test_without_episodes_single_states_are_drawn():
    data = load(EMBEDDINGS, labels={"row": np.arange(COUNT)}, limit=100)
    assert data.episodes is data.steps is None
    rows = data.labels["row"]
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(data.embeddings, EMBEDDINGS[rows])
    assert data.sampling == "100 of 1,000 rows, drawn one by one, held in memory"


def test_fewer_states_than_dimensions_are_told():
    assert "all 3 rows, fewer than the 4 dimensions" in load(EMBEDDINGS[:3]).sampling


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8, np.uint64, bool])
def test_real_numbers_of_any_width_become_float32(dtype):
    values = np.array([[0, 1], [1, 0]]).astype(dtype)
    data = load(values)
    assert data.embeddings.dtype == np.float32
    np.testing.assert_array_equal(data.embeddings, [[0, 1], [1, 0]])


def _with(value):
    values = EMBEDDINGS.astype(np.float64)
    values[3, 2] = values[5, 2] = values[5, 0] = value
    return values


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (EMBEDDINGS[0], r"shape \[N, D\], one row a state, got \[4\]"),
        (EMBEDDINGS[None], r"shape \[N, D\], one row a state, got \[1, 1000, 4\]"),
        (EMBEDDINGS[:1], "at least two states, got one row"),
        (EMBEDDINGS[:0], "at least two states, got no row"),
        (EMBEDDINGS[:, :0], "at least one dimension"),
        (_with(np.nan), "NaN or infinity in 2 of 1,000 rows, in the columns 0, 2 of 4"),
        (_with(np.inf), "NaN or infinity in 2 of 1,000 rows, in the columns 0, 2 of 4"),
        (_with(1e300), "finite in float32, got NaN or infinity in 2 of 1,000 rows"),
        (EMBEDDINGS.astype(complex), "real numbers, got complex numbers"),
        (EMBEDDINGS.astype(str), "real numbers, got text"),
        (EMBEDDINGS.astype(object), "real numbers, got Python objects"),
        ([[1.0], [1.0, 2.0]], r"array of numbers \[N, D\]"),
    ],
)
def test_an_array_that_is_none_of_embeddings_gets_a_sentence(array, says):
    with pytest.raises(SettingsError, match=says):
        load(array)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"labels": {"room": ROOMS[:3]}}, r"labels\['room'\] must have shape \[1000\].* got \[3\]"),
        ({"labels": ROOMS}, "by name, as in {'room': rooms}, got a ndarray"),
        ({"labels": {"room": ROOMS.astype(str)}}, "must be whole numbers, got <U"),
        (
            {"labels": {"x": REWARDS}},
            r"labels\['x'\] must be whole numbers, got -2\.6.* among 1,000",
        ),
        ({"labels": {"x": np.full(COUNT, np.nan)}}, "whole numbers, got nan"),
        ({"episodes": EPISODES[:4]}, r"episodes must have shape \[1000\].* got \[4\]"),
        ({"stds": STDS[:, :2]}, r"stds must be numbers of shape \[1000, 4\].* \[1000, 2\]"),
        ({"stds": -STDS}, "stds must be standard deviations above 0, the least is -0.99"),
        ({"stds": STDS * np.nan}, "stds must be finite"),
        ({"limit": 1}, "limit must be at least 2, got 1"),
    ],
)
def test_what_comes_with_an_array_must_fit_it(arguments, says):
    with pytest.raises(SettingsError, match=says):
        load(EMBEDDINGS, **arguments)


def _half(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_cut_off_in_the_middle_gets_a_sentence(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    _half(path)
    with pytest.raises(SettingsError, match=f"{path} is .*(cut off|no whole)"):
        load(path)


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_an_empty_file_gets_a_sentence(suffix, tmp_path):
    path = tmp_path / f"empty.{suffix}"
    path.touch()
    with pytest.raises(SettingsError, match=f"{path} is empty"):
        load(path)


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
@pytest.mark.parametrize("disguise", ["pickle", "objects"])
def test_nothing_is_unpickled(suffix, disguise, tmp_path):
    path, left = tmp_path / f"trap.{suffix}", tmp_path / "left"
    trap = np.array([[_Trap(left)]] * 2, dtype=object)
    if disguise == "pickle":
        path.write_bytes(pickle.dumps(trap))
        says = "no whole Parquet file" if suffix == "parquet" else "a pickle, which is not read"
    elif suffix == "parquet":
        pq.write_table(pa.table({"embedding": [pickle.dumps(trap)] * 2}), path)
        says = "lists of real numbers, got binary"
    else:
        (np.save if suffix == "npy" else np.savez)(path, trap, allow_pickle=True)
        says = "holds Python objects, which only unpickling could read"
    with pytest.raises(SettingsError, match=says):
        load(path)
    assert not left.exists()


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"name": ["a", "b"]}, "it holds name"),
        ({"embedding": [[1.0, 2.0], [3.0]]}, "lists of one length, got 1, 2"),
        ({"embedding": [[1.0, 2.0], None]}, "complete, got a list or number that is missing"),
        ({"embedding": [[1.0, None], [1.0, 2.0]]}, "complete, got a list or number"),
        ({"embedding": [["a"], ["b"]]}, "lists of real numbers, got list"),
        ({"z": [1.0, 2.0], "room": [1, None]}, "room in .* whole numbers, got missing ones"),
        ({"z": [1.0, None]}, "NaN or infinity in 1 of 2 rows"),
        ({"z": [1.0]}, "two states, got one row"),
        ({"z": pa.array([], pa.float32())}, "two states, got no row"),
        ({"embedding": pa.array([], pa.list_(pa.float32()))}, "two states, got no row"),
    ],
)
def test_a_table_that_holds_no_embeddings_gets_a_sentence(columns, says, tmp_path):
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(SettingsError, match=says):
        load(path)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"embeddings": EMBEDDINGS, "room": ROOMS[:3]}, None),
        ({"embeddings": EMBEDDINGS, "episodes": EPISODES[:3]}, "episodes in .* 1,000 rows"),
        ({"z": EMBEDDINGS, "std": 0 * STDS}, "std in .* above 0, the least is 0"),
        ({"a": EMBEDDINGS, "b": EMBEDDINGS}, "under the name embeddings.*it holds a, b"),
        ({"a": EMBEDDINGS[0], "b": EMBEDDINGS[1]}, "it holds a, b"),
        ({"a": EMBEDDINGS[0]}, r"shape \[N, D\], one row a state, got \[4\]"),
        ({}, "it holds nothing"),
    ],
)
def test_arrays_that_do_not_belong_together_get_a_sentence(arrays, says, tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, **arrays)
    with pytest.raises(SettingsError, match=says or "room in .* must have 1,000 rows"):
        load(path)


def test_what_is_no_file_of_embeddings_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        load(tmp_path / "missing.npy")
    with pytest.raises(SettingsError, match=r"no recorded dataset: there is no \.parquet file"):
        load(tmp_path)
    (tmp_path / "config.yaml").touch()
    with pytest.raises(SettingsError, match="is the folder of a run"):
        load(tmp_path)
    (tmp_path / "table.csv").touch()
    with pytest.raises(SettingsError, match=r"ends with \.npy, \.npz, \.parquet"):
        load(tmp_path / "table.csv")


def test_files_of_a_dataset_must_have_the_same_columns(tmp_path):
    pq.write_table(pa.table({"z": [1.0, 2.0]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"y": [1.0, 2.0]}), tmp_path / "b.parquet")
    with pytest.raises(SettingsError, match=r"b\.parquet has other columns than .*a\.parquet"):
        load(tmp_path)
