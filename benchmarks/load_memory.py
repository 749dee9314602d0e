"""How much memory and time `ngu.analysis.load` takes for ten million embeddings of 32 numbers.

    python benchmarks/load_memory.py --folder /tmp/embeddings

It writes the files where they are missing, loads each in a process of its own and prints a table.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np

WIDTH, EPISODE, PIECE = 32, 1_000, 250_000


def pieces(count: int):
    """Embeddings, piece by piece, of a random walk's kind of spectrum."""
    generator = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(WIDTH))
    for begin in range(0, count, PIECE):
        size = min(PIECE, count - begin)
        yield (generator.standard_normal((size, WIDTH), np.float32) * scale).astype(np.float32)


def write_npy(path: Path, count: int) -> None:
    """The embeddings alone."""
    array = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    begin = 0
    for piece in pieces(count):
        array[begin : begin + len(piece)] = piece
        begin += len(piece)


def write_npz(path: Path, count: int) -> None:
    """Embeddings and episodes."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("embeddings.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, WIDTH)}
            np.lib.format.write_array_header_1_0(file, header)
            for piece in pieces(count):
                file.write(piece.tobytes())
        with archive.open("episodes.npy", "w") as file:
            np.lib.format.write_array(file, np.arange(count) // EPISODE)


def write_parquet(path: Path, count: int) -> None:
    """Embeddings as lists and episodes, in row groups of a piece."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("embedding", pa.list_(pa.float32(), WIDTH)), ("episode", pa.int64())])
    begin = 0
    with pq.ParquetWriter(path, schema) as writer:
        for piece in pieces(count):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(piece.reshape(-1)), WIDTH)
            episodes = pa.array(np.arange(begin, begin + len(piece)) // EPISODE)
            writer.write_table(pa.Table.from_arrays([lists, episodes], schema=schema), len(piece))
            begin += len(piece)


WRITERS = {"npy": write_npy, "npz": write_npz, "parquet": write_parquet}


def load_one(path: str, limit: int | None) -> None:
    """Load a file and print what it took."""
    from ngu.analysis import load

    begun = time.perf_counter()
    data = load(path, limit=limit)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    name, rows = Path(path).suffix, len(data.embeddings)
    print(f"| {name} | {rows:,} | {peak:.2f} | {seconds:.1f} | {data.sampling} |", flush=True)


def main() -> None:
    """Write what is missing, load each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int)
    known = parser.parse_args()
    if known.load:
        load_one(known.load, known.limit)
        return
    known.folder.mkdir(parents=True, exist_ok=True)
    print("| file | states loaded | peak GB | seconds | how |\n|---|---|---|---|---|", flush=True)
    for kind, write in WRITERS.items():
        path = known.folder / f"embeddings-{known.rows}.{kind}"
        if not path.exists():
            write(path, known.rows)
        for limit in (["--limit", "200000"], []):
            command = [sys.executable, __file__, "--folder", str(known.folder)]
            subprocess.run([*command, "--load", str(path), *limit], check=True)


if __name__ == "__main__":
    main()
