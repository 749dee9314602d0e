import numpy as np
import pytest
import torch

from ngu import EpisodicMemory
from ngu.novelty import faiss_search
from ngu.novelty import memory as module

BACKENDS = ["faiss", "torch"]


def brute_force(rings, queries, k):
    """Squared distances in float64 to lists of entries, padded with infinity."""
    out = np.full((len(rings), k), np.inf)
    for env, ring in enumerate(rings):
        if ring:
            differences = np.float64(ring) - np.float64(queries[env])
            found = np.sort((differences**2).sum(-1))[:k]
            out[env, : found.size] = found
    return out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("in_parts", [True, False])
def test_equals_brute_force(backend, in_parts, monkeypatch):
    if in_parts:
        monkeypatch.setattr(module, "_CHUNK", 64)
        monkeypatch.setattr(faiss_search, "_SHARED", 1)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    num_envs, dim, capacity, k = 4, 3, 50, 5
    rng = np.random.default_rng(0)
    memory = EpisodicMemory(num_envs, dim, capacity, k, backend=backend)
    rings = [[] for _ in range(num_envs)]
    for step in range(130):
        queries = rng.standard_normal((num_envs, dim), dtype=np.float32)
        np.testing.assert_allclose(
            memory.nearest(queries), brute_force(rings, queries, k), rtol=1e-6, atol=1e-12
        )
        where = rng.random(num_envs) < [1.0, 0.9, 0.5, 0.02]
        memory.add(queries, where)
        cleared = rng.random(num_envs) < [0.0, 0.02, 0.1, 0.0]
        memory.clear(cleared)
        for env in range(num_envs):
            if where[env]:
                rings[env] = [*rings[env], queries[env]][-capacity:]
            if cleared[env]:
                rings[env] = []
        assert memory.sizes.tolist() == [len(ring) for ring in rings], step
    assert memory.sizes[0] == capacity
    assert memory.sizes[3] < k


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_exact_repeats_and_ties(backend, offset):
    # Far from the origin |q|^2 - 2 q.x + |x|^2 would lose the small distances.
    rng = np.random.default_rng(0)
    points = rng.integers(-2, 3, (200, 2)).astype(np.float32) + np.float32(offset)
    memory = EpisodicMemory(2, 2, k=10, backend=backend)
    for point in points:
        memory.add(np.stack([point, -point]))
    queries = np.stack([points[17], -points[17]])
    got = memory.nearest(queries)
    np.testing.assert_array_equal(got, brute_force([list(points), list(-points)], queries, 10))
    assert got[0, 0] == 0
    assert (np.diff(got) == 0).any()


@pytest.mark.parametrize("dim", [1, 7, 16, 32, 33])
def test_backends_agree(dim):
    rng = np.random.default_rng(dim)
    memories = [EpisodicMemory(3, dim, 300, 10, backend=backend) for backend in BACKENDS]
    for _ in range(310):
        entries = rng.standard_normal((3, dim), dtype=np.float32)
        for memory in memories:
            memory.add(entries)
    a, b = (memory.nearest(entries + np.float32(0.1)) for memory in memories)
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("in_parts", [True, False])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_many_queries_of_one_environment(backend, in_parts, offset, monkeypatch):
    if in_parts:
        monkeypatch.setattr(module, "_CHUNK", 64)
    dim, capacity, k = 3, 40, 5
    rng = np.random.default_rng(0)
    memory = EpisodicMemory(4, dim, capacity, k, backend=backend)
    rings = [[] for _ in range(4)]
    # Empty, fewer than K, as many as K, a ring that wrapped.
    for step in range(95):
        where = np.array([False, step < 2, step < k, True])
        entries = rng.standard_normal((4, dim), dtype=np.float32) + np.float32(offset)
        memory.add(entries, where)
        for env in np.flatnonzero(where):
            rings[env] = [*rings[env], entries[env]][-capacity:]
    assert memory.sizes.tolist() == [0, 2, k, capacity]
    before = memory.state_dict()
    queries = rng.standard_normal((17, dim), dtype=np.float32) + np.float32(offset)
    queries[3] = rings[3][-1]
    for env in range(4):
        found = memory.nearest_among(env, torch.from_numpy(queries))
        expected = np.concatenate([brute_force([rings[env]], query[None], k) for query in queries])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert (found.numpy()[:, : len(rings[env])] >= 0).all()
        one = np.repeat(queries[:1], 4, axis=0)
        np.testing.assert_allclose(found[0], memory.nearest(one)[env], rtol=1e-4, atol=1e-5)
    assert memory.nearest_among(3, torch.from_numpy(queries[:0])).shape == (0, k)
    assert memory.nearest_among(3, torch.from_numpy(queries))[3, 0] < 1e-5
    for name, value in memory.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [[4095, 4096, 4100], [5000, 640, 0]])
@pytest.mark.parametrize("whole_numbers", [False, True])
def test_many_entries_equal_brute_force(backend, sizes, whole_numbers):
    rng = np.random.default_rng(0)
    rings = [rng.standard_normal((size, 6), dtype=np.float32) for size in sizes]
    queries = rng.standard_normal((3, 6), dtype=np.float32)
    if whole_numbers:  # thousands of ties, exact repeats among them
        rings, queries = [np.rint(ring) for ring in rings], np.rint(queries)
    memory = EpisodicMemory(3, 6, capacity=5000, k=10, backend=backend)
    memory.load_state_dict(
        {
            "entries": torch.from_numpy(np.concatenate(rings)),
            "sizes": torch.tensor(sizes),
            "cursors": torch.tensor(sizes) % 5000,
            "capacity": 5000,
        }
    )
    expected = brute_force([list(ring) for ring in rings], queries, 10)
    np.testing.assert_allclose(memory.nearest(queries), expected, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_where_hides_environments(backend):
    memory = EpisodicMemory(3, 2, k=2, backend=backend)
    ones = torch.ones(3, 2)
    memory.add(ones, torch.tensor([True, False, True]))
    assert memory.sizes.tolist() == [1, 0, 1]
    got = memory.nearest(ones, torch.tensor([True, True, False]))
    assert got.tolist() == [[0, torch.inf], [torch.inf] * 2, [torch.inf] * 2]
    memory.clear(np.array([True, False, False]))
    assert memory.sizes.tolist() == [0, 0, 1]
    memory.clear()
    assert memory.sizes.tolist() == [0, 0, 0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_are_not_overwritten(backend):
    memory = EpisodicMemory(1, 2, k=1, backend=backend)
    memory.add(np.zeros((1, 2), np.float32))
    first = memory.nearest(np.ones((1, 2), np.float32))
    memory.nearest(np.full((1, 2), 5, np.float32))
    assert first.tolist() == [[2.0]]
    sizes = memory.sizes
    memory.clear()
    assert sizes.tolist() == [1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("other", BACKENDS)
def test_state_holds_only_what_is_filled_and_continues(backend, other):
    rng = np.random.default_rng(0)
    data = rng.standard_normal((60, 2, 3), dtype=np.float32)
    memory = EpisodicMemory(2, 3, 20, 4, backend=backend)
    for step, entries in enumerate(data[:30]):
        memory.add(entries, np.array([True, step < 5]))
    state = memory.state_dict()
    assert state["entries"].shape == (20 + 5, 3)
    copy = EpisodicMemory(2, 3, 20, 4, backend=other)
    copy.load_state_dict(state)
    for entries in data[30:]:
        np.testing.assert_allclose(
            memory.nearest(entries), copy.nearest(entries), rtol=1e-6 if other != backend else 0
        )
        memory.add(entries)
        copy.add(entries)


def test_state_of_another_size_is_refused():
    state = EpisodicMemory(2, 3, 20).state_dict()
    memory = EpisodicMemory(2, 3, 21)
    with pytest.raises(ValueError, match=r"\(2, 3, 21\), got \(2, 3, 20\)"):
        memory.load_state_dict(state)


def test_wrong_arguments_are_refused():
    memory = EpisodicMemory(2, 3)
    with pytest.raises(TypeError, match=r"embeddings must be of dtype float32, got .*float64"):
        memory.add(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"queries must have shape \[2, 3\], got \[3, 2\]"):
        memory.nearest(np.zeros((3, 2), np.float32))
    with pytest.raises(ValueError, match=r"where must have shape \[2\], got \[3\]"):
        memory.clear(np.ones(3, bool))
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        EpisodicMemory(2, 3, 0)
    with pytest.raises(ValueError, match=r"backend must be .* got 'hnsw'"):
        EpisodicMemory(2, 3, backend="hnsw")
    with pytest.raises(ValueError, match="'faiss' searches on the CPU, got device meta"):
        EpisodicMemory(2, 3, backend="faiss", device="meta")
    assert memory.sizes.tolist() == [0, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_accelerator_gives_the_same_answer():
    generator = torch.Generator().manual_seed(0)
    host, device = EpisodicMemory(3, 32, 300), EpisodicMemory(3, 32, 300, device="cuda")
    for _ in range(310):
        entries = torch.randn((3, 32), generator=generator)
        host.add(entries)
        device.add(entries.cuda())
    got = device.nearest(entries.cuda())
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), host.nearest(entries))
