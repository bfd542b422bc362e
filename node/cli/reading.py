"""`vcoin job embed` and `vcoin job classify`: jobs whose model only reads texts, several in one job."""

from typing import Annotated, Any

from cyclopts import Parameter

from node.api.faults import Fault
from node.cli.answer import Follower
from node.cli.door import client
from node.cli.job import milliseconds, typed
from node.cli.options import COMMON, Coins, Common

Texts = Annotated[str, Parameter(allow_leading_hyphen=True)]


def embed(
    *texts: Texts,
    model: str,
    max_units: int = 0,
    max_price: Coins | None = None,
    timeout: Annotated[float, Parameter(metavar="S")] = 120.0,
    min_reputation: int = 0,
    bonus: bool = True,
    uncalibrated: Annotated[bool, Parameter(negative="")] = False,
    checked: bool | None = None,
    follow: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Turn texts into vectors of length one, the nearer the more alike; a line of JSON for each, in their order.

    Exit code: as `vcoin job run`.

    Parameters
    ----------
    texts
        The texts; - reads them from stdin, one a line.
    model
        A model's name, or its id or a prefix of it.
    max_units
        Pay for at most so many units of 32 tokens; nothing: for as many as the texts have.
    max_price
        Pay at most this for all texts; nothing: what the cheapest able node asks.
    timeout
        Seconds that the container may run.
    min_reputation
        Hire only nodes with so many points.
    bonus
        Pay 9 % more where the answer comes early.
    uncalibrated
        Accept device classes without noise constants for this on chain: always checked, never slashed.
    checked
        Have drawn seats repeat this job for certain, for half of the price on top; neither: as node.checked is set.
    follow
        Stay until the money has moved, too.
    """
    body = {
        "kind": "embed",
        "model": model,
        "texts": _texts(texts),
        "max_new_tokens": max_units,
        "max_price_wei": str(max_price or 0),
        "timeout_ms": milliseconds(timeout),
        "min_reputation": min_reputation,
        "with_bonus": bonus,
        "uncalibrated": uncalibrated,
        **({} if checked is None else {"checked": checked}),
    }
    return _follow(body, follow, common)


def classify(
    *texts: Texts,
    model: str,
    labels: str,
    max_units: int = 0,
    max_price: Coins | None = None,
    timeout: Annotated[float, Parameter(metavar="S")] = 120.0,
    min_reputation: int = 0,
    bonus: bool = True,
    uncalibrated: Annotated[bool, Parameter(negative="")] = False,
    checked: bool | None = None,
    follow: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Say which label fits each text best, and how well each does; a line of JSON for each text, in their order.

    Exit code: as `vcoin job run`.

    Parameters
    ----------
    texts
        The texts; - reads them from stdin, one a line.
    model
        A model's name, or its id or a prefix of it.
    labels
        The labels, with commas between them; no two may begin alike.
    max_units
        Pay for at most so many units of 32 tokens, the question about each text included; nothing: for all there are.
    max_price
        Pay at most this for all texts; nothing: what the cheapest able node asks.
    timeout
        Seconds that the container may run.
    min_reputation
        Hire only nodes with so many points.
    bonus
        Pay 9 % more where the answer comes early.
    uncalibrated
        Accept device classes without noise constants for this on chain: always checked, never slashed.
    checked
        Have drawn seats repeat this job for certain, for half of the price on top; neither: as node.checked is set.
    follow
        Stay until the money has moved, too.
    """
    body = {
        "kind": "classify",
        "model": model,
        "texts": _texts(texts),
        "labels": [label.strip() for label in labels.split(",")],
        "max_new_tokens": max_units,
        "max_price_wei": str(max_price or 0),
        "timeout_ms": milliseconds(timeout),
        "min_reputation": min_reputation,
        "with_bonus": bonus,
        "uncalibrated": uncalibrated,
        **({} if checked is None else {"checked": checked}),
    }
    return _follow(body, follow, common)


def _texts(given: tuple[str, ...]) -> list[str]:
    """Raises: Fault bad_request where there is none."""
    texts = [line for line in typed().splitlines() if line.strip()] if given == ("-",) else [*given]
    if not texts:
        raise Fault("bad_request", "there is no text to read", "give some, or - and one a line on stdin")
    return texts


def _follow(body: dict[str, Any], follow: bool, common: Common) -> int:
    door = client(common.data_dir)
    job_id = door.post("jobs", body=body)["id"]
    return Follower(door, job_id, to_the_end=follow, as_json=common.json).run()
