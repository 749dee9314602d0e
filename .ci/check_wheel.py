"""Exits with a sentence if a wheel lacks a file of the checkout or brings one too many.

Usage: check_wheel.py WHEEL CHECKOUT
"""

import sys
import zipfile
from pathlib import Path

# Where the wheel has a folder, and where the checkout has it.
FOLDERS = {
    "ngu": "ngu",
    "ngu_agents": "agents/ngu_agents",
    "ngu_envs": "envs/ngu_envs",
    "ngu/configs": "configs",
}
SUFFIXES = {".py", ".yaml", ".css", ".js", ".safetensors"}


def expected_files(checkout: Path) -> set[str]:
    """The names the wheel must hold, its metadata aside."""
    names: set[str] = set()
    for target, source in FOLDERS.items():
        for path in (checkout / source).rglob("*"):
            if path.suffix in SUFFIXES or path.name == "py.typed":
                names.add(f"{target}/{path.relative_to(checkout / source).as_posix()}")
    return names


def main(wheel: Path, checkout: Path) -> str | None:
    """What is wrong with the wheel, or None."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    expected = expected_files(checkout)
    if missing := expected - names:
        return f"{wheel.name} lacks {sorted(missing)}"
    if surplus := names - metadata - expected:
        return f"{wheel.name} holds what does not belong in it: {sorted(surplus)}"
    for name in ("licenses/LICENSE", "entry_points.txt"):
        if not any(member.endswith(f"/{name}") for member in metadata):
            return f"{wheel.name} lacks {name} in its metadata"
    for name in ("ngu/py.typed", "ngu_agents/py.typed", "ngu_envs/py.typed"):
        if name not in names:
            return f"{wheel.name} lacks {name}"
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
