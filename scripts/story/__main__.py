"""`python -m scripts.story [--keep]`: tell the story on a machine that is set up; exit code 0 if all of it happened."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from executor import images
from node.api.faults import Fault
from node.localnet.network import RPC_PORT, LocalnetPlan, up
from node.localnet.record import default_directory
from node.localnet.running import down
from protocol.errors import NodeError
from scripts.setup import model
from scripts.story import acts, books, cast, screen, stage
from tests.adversaries import images as adversaries


def main() -> int:
    """Tell it, and leave nothing running unless asked to."""
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--keep", action="store_true", help="leave the network up to explore")
    parser.add_argument("--dir", type=Path, default=default_directory().with_name("demo"), help="where it lives")
    parser.add_argument("--port", type=int, default=RPC_PORT, help="of the chain; the nodes take those after it")
    arguments = parser.parse_args()
    keep, directory = arguments.keep, arguments.dir.absolute()
    try:
        tell(directory, arguments.port)
    except (screen.Broken, Fault, NodeError) as error:
        return screen.fail(error)
    finally:
        if keep:
            screen.say(f"\nThe network stays up. Stop it with: vcoin localnet down --dir {directory}")
        else:
            down(directory, screen.say)
    return 0


def tell(directory: Path, port: int) -> None:
    """The whole story. Raises: Broken where it does not go as it must."""
    manifest = model.manifest_id()
    if manifest is None:
        raise screen.Broken("the small model is not on this machine")
    screen.scene("The network comes up")
    host = os.environ["DOCKER_HOST"]
    plan = cast.cast(adversaries.build("quantised_runner", images.find(host), host))
    record = up(LocalnetPlan(directory, plan, port, port + 1, model.store()), lambda line: screen.say(f"  {line}"))
    before = books.read(record)
    acts.honest(record, manifest.hex())
    screen.scene(f"Between the acts: {cast.CHEAT} may work now")
    cheat = next(each for each in plan if each.name == cast.CHEAT)
    record = stage.recast(record, cast.greedy(cheat))
    acts.dishonest(record, manifest.hex())
    screen.scene("The books")
    after = books.read(record)
    books.show(before, after)
    books.prove(after)
    screen.say("\nThe end: an honest job was paid, a dishonest one was caught, and no coin is missing.")


if __name__ == "__main__":
    sys.exit(main())
