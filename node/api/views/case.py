"""A court over a batch, and the drawn leaves that this node holds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeatView:
    """A seat of a case: drawn, committed, revealed or silent; its scores in basis points, one a drawn leaf."""

    seat: int
    node: str
    state: str
    commitment: str
    scores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CaseView:
    """A court over a batch, and where its money went. verdict: "", pass, review, severe, short, starved, withheld."""

    id: str
    node: str
    slot: int
    class_id: int
    state: str
    leaf_count: int
    drawn: tuple[int, ...]
    seats: tuple[SeatView, ...]
    verdict: str
    median_bps: int
    price_wei: int
    burned_wei: int
    reward_wei: int
    bonus_wei: int
    pooled_wei: int
    refunded_wei: int
    slashed_wei: int
    jobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token of an answer, and by how much a seat would have chosen another one, in ppm of a nat; -1: not known."""

    text: str
    margin_ppm: int


@dataclass(frozen=True, slots=True)
class TermView:
    """A term of a seat's score: its distance, up to where it passes and from where it fails, in ppm, and its score."""

    name: str
    distance_ppm: int
    pass_ppm: int
    fail_ppm: int
    score_bps: int


@dataclass(frozen=True, slots=True)
class LeafView:
    """A drawn leaf as this node holds it: as a seat, as the node that did the job, or as its client.

    asked and answer: input.json and result.json as they are; question and text for people. terms, stop_margin_ppm and
    score_bps as this node has computed them on its seat, -1 for what it has not. seed: of the choice of tokens, in hex.
    """

    leaf: int
    holder: str
    kind: str
    job_id: str
    manifest: str
    model: str
    class_id: int
    temperature_milli: int
    max_new_tokens: int
    timeout_ms: int
    seed: str
    asked: str
    answer: str
    question: str
    text: str
    finish: str
    tokens: tuple[TokenView, ...]
    stop_margin_ppm: int
    terms: tuple[TermView, ...]
    score_bps: int
    problem: str


@dataclass(frozen=True, slots=True)
class LeavesView:
    """The drawn leaves of a case that this node holds anything of; the others are not here."""

    id: str
    leaves: tuple[LeafView, ...]
