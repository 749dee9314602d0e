import logging
import math
import resource
import signal
import subprocess
import sys
import tracemalloc
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from ngu.checkpoint import Checkpoints, DamagedCheckpoint, load_tree, save_tree


def assert_same(left, right):
    """Equal in type, dtype, shape and every bit, nan included."""
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right)
        assert [type(key) for key in left] == [type(key) for key in right]
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        flat, other = left.reshape(-1), right.reshape(-1)
        assert torch.equal(flat.view(torch.uint8), other.view(torch.uint8))
    elif isinstance(left, np.ndarray | np.generic):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        assert left.tobytes() == right.tobytes()
    elif isinstance(left, float):
        assert left.hex() == right.hex()
    else:
        assert left == right


TENSOR_TYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.uint16,
    torch.int16,
    torch.uint32,
    torch.int32,
    torch.uint64,
    torch.int64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]


@pytest.mark.parametrize("dtype", TENSOR_TYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3, 5)], ids=str)
def test_tensor_of_each_type_and_shape(tmp_path, dtype, shape):
    values = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
    save_tree(tmp_path / "state", {"x": values})
    assert_same(load_tree(tmp_path / "state"), {"x": values})


@pytest.mark.parametrize("dtype", "?bBhHiIqQefdFD")
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (3, 5)], ids=str)
def test_array_of_each_type_and_shape(tmp_path, dtype, shape):
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    save_tree(tmp_path / "state", values)
    assert_same(load_tree(tmp_path / "state"), values)


def test_numbers_to_the_last_bit(tmp_path):
    tree = {
        "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        "ints": [0, -1, 2**63, -(2**63), 2**64, -(10**5000)],
        "numpy": [np.float32(0.1), np.float64(0.1), np.uint64(2**64 - 1), np.bool_(True)],
        "rest": [True, False, None, "", "ünï\x00\n\ud800", b"", b"\x00\xff"],
    }
    save_tree(tmp_path / "state", tree)
    assert_same(load_tree(tmp_path / "state"), tree)


def test_layout_in_memory_does_not_matter(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    grid = np.arange(24).reshape(4, 6)
    given_ = {
        "transposed": base.T,
        "every other": base[:, ::2],
        "conjugate": torch.view_as_complex(base.reshape(12, 2)).conj(),
        "with gradient": base.clone().requires_grad_(),
        "fortran": np.asfortranarray(grid),
        "backwards": grid[::-1],
        "big endian": grid.astype(">i4"),
    }
    expected = {
        "transposed": base.T.contiguous(),
        "every other": base[:, ::2].contiguous(),
        "conjugate": torch.complex(base.reshape(12, 2)[:, 0], -base.reshape(12, 2)[:, 1]),
        "with gradient": base,
        "fortran": grid,
        "backwards": grid[::-1].copy(),
        "big endian": grid.astype("=i4"),
    }
    save_tree(tmp_path / "state", given_)
    assert_same(load_tree(tmp_path / "state"), expected)


def test_keys_that_would_share_a_name_stay_apart(tmp_path):
    tree = {
        "a": {"b": torch.tensor(1), 1: torch.tensor(2), "1": torch.tensor(3)},
        "a/b": torch.tensor(4),
        "": torch.tensor(5),
        "__metadata__": torch.tensor(6),
        "kind": {"name": torch.tensor(7), "kind": "tensor", "items": []},
    }
    save_tree(tmp_path / "state", tree)
    assert_same(load_tree(tmp_path / "state"), tree)


LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=8)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=4), st.integers()), inner, max_size=4),
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(tree=TREES)
def test_any_tree_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.getbasetemp() / "any-tree"
    save_tree(path, tree)
    assert_same(load_tree(path), tree)


def test_real_states_continue_to_the_same_floats(tmp_path):
    def make():
        torch.manual_seed(0)
        net = torch.nn.Linear(3, 2)
        return net, torch.optim.Adam(net.parameters(), lr=0.1)

    def step(net, optimiser, generator, random):
        optimiser.zero_grad()
        x = torch.randn(4, 3, generator=generator) * float(random.normal())
        net(x).square().sum().backward()
        optimiser.step()

    net, optimiser = make()
    generator, random = torch.Generator().manual_seed(1), np.random.default_rng(2)
    step(net, optimiser, generator, random)
    tree = {
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "random": random.bit_generator.state,
    }
    save_tree(tmp_path / "state", tree)
    loaded = load_tree(tmp_path / "state")
    step(net, optimiser, generator, random)

    other, other_optimiser = make()
    other.load_state_dict(loaded["net"])
    other_optimiser.load_state_dict(loaded["optimiser"])
    other_generator, other_random = torch.Generator(), np.random.default_rng()
    other_generator.set_state(loaded["generator"])
    other_random.bit_generator.state = loaded["random"]
    step(other, other_optimiser, other_generator, other_random)
    assert torch.equal(net.weight, other.weight)
    assert torch.equal(generator.get_state(), other_generator.get_state())


def test_loaded_arrays_are_writable_and_the_callers_own(tmp_path):
    save_tree(tmp_path / "state", [torch.zeros(2), np.zeros(2)])
    tensor, array = load_tree(tmp_path / "state")
    tensor += 1
    array += 1
    assert_same(load_tree(tmp_path / "state"), [torch.zeros(2), np.zeros(2)])


def test_subclasses_of_containers_come_back_plain(tmp_path):
    save_tree(tmp_path / "state", OrderedDict(size=torch.Size([2])))
    assert_same(load_tree(tmp_path / "state"), {"size": (2,)})


def test_other_readers_of_safetensors_read_it(tmp_path):
    tree = {"net": {"weight": torch.randn(3, 2), "flag": np.array([True])}, "step": 7}
    save_tree(tmp_path / "state", tree)
    with safe_open(tmp_path / "state", "pt") as file:
        assert set(file.keys()) == {"net/weight", "net/flag"}
        assert torch.equal(file.get_tensor("net/weight"), tree["net"]["weight"])


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"a": [1, {2}]}, ["'a/1'", "set"]),
        (lambda: None, ["'root'", "function"]),
        ({"a": {(1, 2): 3}}, ["'a'", "(1, 2)"]),
        ({"a": np.array(["x"])}, ["'a'", "array", "<U1"]),
        ({"a": np.array([None])}, ["'a'", "object"]),
        ({"a": torch.eye(2).to_sparse()}, ["'a'", "tensor", "dense"]),
        ({"a": torch.empty(2, device="meta")}, ["'a'", "tensor", "dense"]),
    ],
    ids=["set", "function", "key", "strings", "objects", "sparse", "meta"],
)
def test_what_a_checkpoint_cannot_hold_is_named(tmp_path, tree, words):
    save_tree(tmp_path / "state", "old")
    with pytest.raises(TypeError) as raised:
        save_tree(tmp_path / "state", tree)
    for word in words:
        assert word in str(raised.value)
    assert load_tree(tmp_path / "state") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_every_flipped_byte_is_found(tmp_path):
    path = tmp_path / "state"
    save_tree(path, {"x": torch.arange(20.0), "n": [1, 2.5, "text"]})
    whole = path.read_bytes()
    for i in range(len(whole)):
        for flip in (0x01, 0x80):
            damaged = bytearray(whole)
            damaged[i] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(DamagedCheckpoint, match="state"):
                load_tree(path)


def test_every_truncation_and_any_extra_byte_is_found(tmp_path):
    path = tmp_path / "state"
    save_tree(path, {"x": torch.arange(20.0)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedCheckpoint, match="state"):
            load_tree(path)
    path.write_bytes(whole + b"\x00")
    with pytest.raises(DamagedCheckpoint, match="state"):
        load_tree(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04" + bytes(100), b"\x80\x04K\x01.", b"\x02" + bytes(7) + b"{}"],
    ids=["empty", "zip", "pickle", "safetensors"],
)
def test_foreign_files_are_no_checkpoints(tmp_path, content):
    (tmp_path / "state").write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match="state"):
        load_tree(tmp_path / "state")


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_tree(tmp_path / "state")


def test_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path):
    folder = Checkpoints(tmp_path, keep=1)
    old = folder.save(1, {"x": torch.zeros(100)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(OSError):  # noqa: PT011  # the message is the operating system's
            folder.save(2, {"x": torch.zeros(1_000_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [old]
    assert_same(folder.latest(), (old, {"x": torch.zeros(100)}))


def test_saving_and_loading_copy_no_array(tmp_path):
    tree = {"frames": np.zeros(32 << 20, np.uint8)}
    tracemalloc.start()
    save_tree(tmp_path / "state", tree)
    _, peak_saving = tracemalloc.get_traced_memory()
    loaded = load_tree(tmp_path / "state")
    _, peak_loading = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_saving < 4 << 20
    assert peak_loading < loaded["frames"].nbytes + (4 << 20)


def test_files_are_named_by_step_and_the_last_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "b", keep=2)
    for step in (0, 5, 123456, 10**12):
        saved = checkpoints.save(step, {"step": step})
    assert saved == tmp_path / "a" / "b" / "step-1000000000000.safetensors"
    assert [path.name for path in checkpoints.paths()] == [
        "step-000000123456.safetensors",
        "step-1000000000000.safetensors",
    ]
    assert_same(checkpoints.latest(), (saved, {"step": 10**12}))


def test_damaged_newest_is_named_and_passed_over(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=3)
    first, second, third = (checkpoints.save(step, step) for step in (1, 2, 3))
    third.write_bytes(third.read_bytes()[:-3])
    with caplog.at_level(logging.WARNING):
        assert checkpoints.latest() == (second, 2)
    assert third.name in caplog.text
    assert checkpoints.paths() == [first, second, third]


def test_damaged_one_does_not_push_out_whole_ones(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    first, second = (checkpoints.save(step, step) for step in (10, 100))
    second.write_bytes(b"damaged")
    resumed = Checkpoints(tmp_path, keep=2)
    assert resumed.latest() == (first, 10)
    third = resumed.save(50, 50)
    assert resumed.paths() == [first, third]
    assert resumed.latest() == (third, 50)


def test_all_whole_ones_newest_first(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, keep=3)
    first, second, third = (checkpoints.save(step, step) for step in (1, 2, 3))
    second.write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert list(checkpoints.whole()) == [(third, 3), (first, 1)]
    assert second.name in caplog.text


def test_marked_ones_do_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    first, second = (checkpoints.save(step, step) for step in (1, 2))
    checkpoints.mark_damaged(second)
    third = checkpoints.save(3, 3)
    assert checkpoints.paths() == [first, third]


def test_none_left_says_so(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint in"):
        checkpoints.latest()
    checkpoints.save(1, 1).write_bytes(b"")
    with pytest.raises(DamagedCheckpoint, match="each of the 1 checkpoints"):
        checkpoints.latest()


def test_wrong_arguments(tmp_path):
    with pytest.raises(ValueError, match="keep is 0"):
        Checkpoints(tmp_path / "none", keep=0)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match="step is -1"):
        Checkpoints(tmp_path).save(-1, 1)


def test_looking_leaves_a_file_being_written_and_saving_clears_leftovers(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, 1)
    leftover = tmp_path / ".step-000000000002.safetensors.tmp"
    leftover.write_bytes(b"half")
    other = tmp_path / ".notes.tmp"
    other.write_bytes(b"mine")
    Checkpoints(tmp_path).latest()
    assert leftover.exists()
    checkpoints.save(3, 3)
    assert not leftover.exists()
    assert other.exists()


WRITER = """
import sys
import torch
from ngu.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1], keep=2)
print("ready", flush=True)
for step in range(10**6):
    checkpoints.save(step, {"step": step, "x": torch.full((300_000,), float(step))})
"""


def test_killed_at_any_moment_a_whole_one_is_found(tmp_path):
    random = np.random.default_rng(0)
    writer = [sys.executable, "-c", WRITER]
    for trial in range(3):
        folder = tmp_path / str(trial)
        process = subprocess.Popen([*writer, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        while not list(Path(folder).glob("step-*")):
            assert process.poll() is None
        try:
            process.wait(float(random.uniform(0, 0.1)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        path, tree = Checkpoints(folder).latest()
        assert int(path.stem.removeprefix("step-")) == tree["step"]
        assert torch.equal(tree["x"], torch.full((300_000,), float(tree["step"])))
