"""What bytes of the console's memory mean, game by game, for probes of what an embedding knows.

Source: Anand et al., "Unsupervised State Representation Learning in Atari" (arXiv 1906.08226),
whose annotated interface numbers the 128 bytes from 0; `OWN` are not in their table. Their
room_number and current_room are called room here.
"""

from __future__ import annotations

RAM_LABELS: dict[str, dict[str, int]] = {
    "montezuma_revenge": {
        "room": 3,
        "player_x": 42,
        "player_y": 43,
        "player_direction": 52,
        "enemy_skull_x": 47,
        "enemy_skull_y": 46,
        "key_monster_x": 44,
        "key_monster_y": 45,
        "level": 57,
        "num_lives": 58,
        "items_in_inventory_count": 61,
        "room_state": 62,
        "inventory": 65,
        "score_0": 19,
        "score_1": 20,
        "score_2": 21,
    },
    "pitfall": {
        "room": 1,
        "player_x": 97,
        "player_y": 105,
        "enemy_logs_x": 98,
        "enemy_scorpion_x": 99,
        "bottom_of_rope_y": 18,
        "clock_sec": 89,
        "clock_min": 88,
    },
    "private_eye": {
        "room": 92,
        "player_x": 63,
        "player_y": 86,
        "player_direction": 58,
        "clock_0": 67,
        "clock_1": 69,
        "score_0": 73,
        "score_1": 74,
        "dove_x": 48,
        "dove_y": 39,
    },
    "venture": {
        "room": 90,
        "player_x": 85,
        "player_y": 26,
        **{f"sprite{i}_x": 79 + i for i in range(6)},
        **{f"sprite{i}_y": 20 + i for i in range(6)},
        "num_lives": 70,
        "score_1_2": 71,
        "score_3_4": 72,
    },
    "hero": {
        "room": 28,
        "player_x": 27,
        "player_y": 31,
        "power_meter": 43,
        "level_number": 117,
        "dynamite_count": 50,
        "score_0": 56,
        "score_1": 57,
    },
    "freeway": {
        "player_y": 14,
        "score": 103,
        **{f"enemy_car_x_{i}": 108 + i for i in range(10)},
    },
}
"""Which byte holds what, by ROM and name."""

OWN = {"montezuma_revenge": {"inventory"}, "pitfall": {"room", "clock_sec", "clock_min"}}
"""Names that the published table does not have. Montezuma's inventory is a set of bits, of which 2
to 6 are keys. Pitfall's room is its shift register, which takes another value on each of its 255
screens; its clock was added to the authors' code after the paper."""
