"""`scripts/image list | weigh [NAME] | build NAME | lock`: the images of models, and what each weighs before its build.

A build says first what it fetches, what it takes of the disk and how long it takes; it does not begin where the disk
has no room. Where the machine's driver or cards do not fit an image for cards, a line says what would.
"""

from __future__ import annotations

import argparse
import sys

from scripts.setup.session import run_module

ACTIONS, NAMES = ("list", "weigh", "build", "lock"), ("runner", "cuda")


def parsed() -> argparse.Namespace:
    """What was asked for; a wrong usage ends here."""
    parser = argparse.ArgumentParser(prog="scripts/image", description=__doc__)
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("name", nargs="?", choices=NAMES, help="nothing: all of them; build needs one")
    parser.add_argument("--json", action="store_true", help="print JSON to stdout")
    parser.add_argument("--llama", action="store_true", help="cuda: compile llama.cpp with kernels for cards too")
    parser.add_argument("--base", default="", help="cuda: the image to build on; it has Python 3.13")
    parser.add_argument("--toolkit-base", default="", help="cuda: the image to compile llama.cpp in, as of nvidia/cuda")
    asked = parser.parse_args()
    if asked.action == "build" and asked.name is None:
        parser.error(f"build needs a name: one of {', '.join(NAMES)}")
    return asked


def main() -> int:
    """Exit code: 0 done, 1 a build failed, 2 wrong usage, 4 this machine lacks something."""
    asked = parsed()
    needs = ["venv"]
    if asked.action == "build":
        needs += ["docker engine"] if asked.name == "runner" else ["docker engine", "runner image"]
    return run_module(needs, "scripts.image_build", *sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
