"""Write tests/vectors/*.json, and their values in docs/wire.md: what every implementation must compute.

    python -m scripts.vectors            # write
    python -m scripts.vectors --check    # compare; exit 1 if a committed file differs

forge reads the same files in tests/contracts/Vectors.t.sol.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator

from scripts.vectors import document, draws, fraud, gumbel, judging, layouts, messages, money, wire
from scripts.vectors.frame import VECTORS, Case

FILES: dict[str, Callable[[], Iterator[Case]]] = {
    "sumtree": draws.sumtree,
    "sampling": draws.sampling,
    "gumbel": gumbel.cases,
    "seats": draws.seats,
    "split": money.splits,
    "reputation": money.reputation,
    "messages": messages.messages,
    "fraud": fraud.cases,
    "names": wire.names,
    "layouts": layouts.cases,
    "codec": wire.codec_cases,
    "signing": wire.signing,
    "gossip": wire.gossip,
    "exchange": wire.exchange,
    "streams": wire.streams,
    "sealing": wire.sealing,
    "amounts": money.amounts,
    "verification": judging.verification,
}


def rendered(name: str) -> str:
    """The text of one vector file."""
    return json.dumps({"cases": list(FILES[name]())}, indent=1) + "\n"


def stale() -> list[str]:
    """The vector files that differ from what the core computes now, and docs/wire.md where it shows other values."""
    paths = {name: VECTORS / f"{name}.json" for name in FILES}
    late = [name for name, path_ in paths.items() if not path_.exists() or path_.read_text("utf-8") != rendered(name)]
    page = document.PAGE.read_text("utf-8")
    return late or ([] if document.refreshed(page) == page else ["docs/wire.md"])


def main() -> int:
    """Write or check; 0 if all is well."""
    parser = argparse.ArgumentParser(description="Write the vectors that Python and Solidity share.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        late = stale()
        if late:
            print(f"error: out of date: {', '.join(late)}\nhint: python -m scripts.vectors", file=sys.stderr)
        return 1 if late else 0
    VECTORS.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (VECTORS / f"{name}.json").write_text(rendered(name), "utf-8")
    document.PAGE.write_text(document.refreshed(document.PAGE.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
