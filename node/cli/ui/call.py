"""The common options of every job order, and how it is sent and followed."""

from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from node.api.faults import Fault
from node.cli.ui.answer import Follower
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import Coins, Common, Flag

CHECKED = (
    "Have drawn seats repeat this job for certain, for half of the price on top; others are drawn one time in ten or "
    "more, for a twentieth. It is paid once they agree; found wrong it costs nothing, a doubt costs the check. "
    "Neither: as node.checked is set."
)


@Parameter(name="*")
@dataclass(frozen=True)
class Terms:
    """Options of every command that asks for a job."""

    max_price: Coins | None = None
    """Pay at most this for the whole answer; nothing: what the cheapest able node asks."""
    timeout: Annotated[float | None, Parameter(metavar="S")] = None
    """Seconds that the container may run, twice what nodes need or more; nothing: 120, or 0.25 a token if longer."""
    min_reputation: int = 0
    """Hire only nodes with so many points."""
    bonus: bool = True
    """Pay 9 % more where the answer comes early."""
    uncalibrated: Flag = False
    """Accept device classes without noise constants for this on chain: always checked, never slashed."""
    checked: Annotated[bool | None, Parameter(help=CHECKED)] = None
    follow: Flag = False
    """Stay until the money has moved, too."""


TERMS = Terms()


def send(content: dict[str, Any], terms: Terms, common: Common) -> int:
    """Ask for a job of this content and show its answer; the exit code. Raises: Fault."""
    door = client(common.data_dir)
    job_id = door.post("jobs", body=body_of(content, terms))["id"]
    return Follower(door, job_id, to_the_end=terms.follow, as_json=common.json).run()


def body_of(content: dict[str, Any], terms: Terms) -> dict[str, Any]:
    """The body of a job's order. Raises: Fault bad_request."""
    body = {
        **content,
        "max_price_wei": str(terms.max_price or 0),
        "min_reputation": terms.min_reputation,
        "with_bonus": terms.bonus,
        "uncalibrated": terms.uncalibrated,
    }
    if terms.timeout is not None:
        body["timeout_ms"] = _milliseconds(terms.timeout)
    if terms.checked is not None:
        body["checked"] = terms.checked
    return body


def _milliseconds(seconds: float) -> int:
    if not 0 <= seconds <= 10**9:
        raise Fault("bad_request", f"--timeout {seconds}: expected a number of seconds")
    return round(seconds * 1000)
