"""`scripts/prove [NAME [OPTION...]]`: prove the contracts at length; all of it, or one NAME with its own options.

A NAME is a module of tests/proof with a command line; `scripts/prove NAME --help` tells its options. The share of
each that the layers proof and proof-long run stands in the tests beside them.
"""

from __future__ import annotations

import re
import sys

from scripts.setup import venv
from scripts.setup.cache import REPOSITORY
from scripts.setup.failure import Missing, report
from scripts.setup.session import Session

FOLDER = REPOSITORY / "tests" / "proof"
NEEDS = ("venv", "node tools", "analysers")


def names() -> list[str]:
    """Every module that can be run."""
    files = [*FOLDER.glob("*.py"), *FOLDER.glob("*/__main__.py")]
    found = (file.parent.name if file.name == "__main__.py" else file.stem for file in files if _runs(file.read_text()))
    return sorted(found)


def _runs(text: str) -> bool:
    return re.search(r"^def main\(\) -> int:", text, re.MULTILINE) is not None


def main() -> int:
    """Exit code: 0 all hold, 1 one does not, 2 its options are wrong, 4 set-up failed."""
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__.strip(), f"\n\nNAMEs: {', '.join(names())}")
        return 0

    def body() -> int:
        chosen, options = (sys.argv[1:2], sys.argv[2:]) if sys.argv[1:] else (names(), [])
        if unknown := [name for name in chosen if name not in names()]:
            raise Missing(f"there is nothing to prove called {unknown[0]}", "choose from: " + ", ".join(names()))
        worst = 0
        with Session(NEEDS) as session:
            for name in chosen:
                if len(chosen) > 1:
                    print(f"\n--- {name} ---", flush=True)
                worst = max(worst, session.call(venv.PYTHON, "-m", f"tests.proof.{name}", *options))
        return worst

    return report(body)


if __name__ == "__main__":
    sys.exit(main())
