"""``python -m ngu`` and ``ngu``: lists the commands, or runs one."""

from __future__ import annotations

import importlib
import sys

COMMANDS = {
    "train": "train an agent that explores, with a live display and checkpoints",
    "train_vae": "train an autoencoder on pictures, and draw what it makes of them",
    "record": "play a run or random actions, and write each state for the analysis",
    "evaluate": "play episodes of a trained run, policy by policy, with a table and a video",
    "predict": "let the world model of a run predict new episodes, with errors and a film",
    "analyze": "tell what an embedding holds, in a report to look at",
    "visualize": "play with an autoencoder's latent on a page: move a number, see the picture",
    "bench": "measure the speed of training, of novelty alone, and of the dreamer",
}


def main() -> int:
    """List the commands with a line each, or hand over to the one that is named."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        sys.argv = [f"ngu {name}", *sys.argv[2:]]
        return importlib.import_module(f"ngu.{name}").main()
    unknown = bool(name) and name not in ("-h", "--help")
    if unknown:
        sys.stderr.write(f"ngu: there is no command {name!r}\n")
    width = max(map(len, COMMANDS))
    print("commands (python -m ngu.COMMAND --help tells more):")
    for command, sentence in COMMANDS.items():
        print(f"  ngu {command:<{width}}  {sentence}")
    return 2 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
