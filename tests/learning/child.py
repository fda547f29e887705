"""A training in a process of its own: ``python -m tests.learning.child FILMS OUT DEVICES [OLD=>NEW ...]``.

It says each step on standard output, so that whoever started it can kill it there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from inference.networks import NETWORKS
from tests.learning.tiny import tiny_recipe
from training.learning.run import Hardware, train


def _tell(stage: str, done: int, total: int) -> None:
    print(f"{stage} {done}", flush=True)


def main(films: str, out: str, devices: str, *changes: str) -> None:
    NETWORKS["tiny"] = "tests.learning.tiny:build"
    pairs = [(old, new) for old, _, new in (change.partition("=>") for change in changes)]
    recipe = tiny_recipe(Path(films), *pairs)
    train(recipe, Path(out), hardware=Hardware("cpu", int(devices)), tell=_tell, say=lambda line: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
