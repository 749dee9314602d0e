"""The games that come with ale-py, and where their memory tells the room."""

from __future__ import annotations

from ale_py import roms

# These are for several players only; the emulator refuses them.
_MULTIPLAYER = {"combat", "joust", "maze_craze", "warlords"}

ROM_OF_GAME = {
    rom.title().replace("_", ""): rom
    for rom in sorted(roms.get_all_rom_ids())
    if rom not in _MULTIPLAYER
}
"""ROM by CamelCase name, as in ale-py's own ids: "MontezumaRevenge" is "montezuma_revenge"."""

# Source: Anand et al., Unsupervised State Representation Learning in Atari (arXiv 1906.08226),
# appendix. Pitfall's is its shift register, which takes another value on each of its 255 screens.
ROOM_BYTES = {"montezuma_revenge": 3, "venture": 90, "private_eye": 92, "pitfall": 1}
"""Which of the 128 bytes of the console's memory numbers the room, by ROM."""
