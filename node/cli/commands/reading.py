"""`vcoin job embed` and `vcoin job classify`: jobs whose model only reads texts, several in one job."""

from typing import Annotated

from cyclopts import Parameter

from node.api.faults import Fault
from node.cli.commands.job import typed
from node.cli.ui.call import TERMS, Terms, send
from node.cli.ui.options import COMMON, AskedModel, Common

Texts = Annotated[str, Parameter(allow_leading_hyphen=True)]


def embed(*texts: Texts, asked: AskedModel, max_units: int = 0, terms: Terms = TERMS, common: Common = COMMON) -> int:
    """Turn texts into vectors of length one, the nearer the more alike; a line of JSON for each, in their order.

    Exit code: as `vcoin job run`.

    Parameters
    ----------
    texts
        The texts; - reads them from stdin, one a line.
    max_units
        Pay for at most so many units of 32 tokens; nothing: for as many as the texts have.
    """
    return send(
        {"kind": "embed", "model": asked.name, "texts": _texts(texts), "max_new_tokens": max_units}, terms, common
    )


def classify(
    *texts: Texts, asked: AskedModel, labels: str, max_units: int = 0, terms: Terms = TERMS, common: Common = COMMON
) -> int:
    """Say which label fits each text best, and how well each does; a line of JSON for each text, in their order.

    Exit code: as `vcoin job run`.

    Parameters
    ----------
    texts
        The texts; - reads them from stdin, one a line.
    labels
        The labels, with commas between them; no two may begin alike.
    max_units
        Pay for at most so many units of 32 tokens, the question about each text included; nothing: for all there are.
    """
    content = {
        "kind": "classify",
        "model": asked.name,
        "texts": _texts(texts),
        "labels": [label.strip() for label in labels.split(",")],
        "max_new_tokens": max_units,
    }
    return send(content, terms, common)


def _texts(given: tuple[str, ...]) -> list[str]:
    """Raises: Fault bad_request where there is none."""
    texts = [line for line in typed().splitlines() if line.strip()] if given == ("-",) else [*given]
    if not texts:
        raise Fault("bad_request", "there is no text to read", "give some, or - and one a line on stdin")
    return texts
