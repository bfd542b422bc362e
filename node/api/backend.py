"""The daemon as the control API sees it. `node/daemon/backend.py` implements it; a test's fake does too.

Every method raises `node.api.faults.Fault` for what cannot be done; any other `NodeError` is mapped by
`faults.fault_of`. Ids may be given as any unique prefix: `node.api.prefix.complete` finds the one that is meant.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from node.api import views
from protocol.stages.model_shape import ModelShape
from protocol.stages.token_rules import NO_RULES, TokenRules


class LaneStep(StrEnum):
    """A step of a client with a lane."""

    OPEN = "open"
    CLOSE = "close"
    RECLAIM = "reclaim"


class ModelStep(StrEnum):
    """A step of the operator with a model."""

    PIN = "pin"
    UNPIN = "unpin"
    REMOVE = "remove"


class HoldStep(StrEnum):
    """A word of the owner on new work."""

    DRAIN = "drain"
    PAUSE = "pause"
    RESUME = "resume"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat: role is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class JobAsk:
    """A job as the user asks for it; the API has checked every bound that does not depend on the node's state.

    kind: generate, embed or classify; the first has messages, or a prompt that its answer goes on with as it stands;
    the others have texts, and classify labels as well. rules: of the choice of tokens, beside the temperature.
    max_new_tokens: of a kind that only reads, the units that it may cost; 0 for as many as there are.
    alone: whether the answer is written in a container without other jobs.
    model: a name, or the id of its manifest or a prefix of it. max_price_wei for all tokens, 0 for whatever the
    cheapest able node asks. timeout_ms of the container, 0 for what its length needs. min_reputation in points.
    temperature_milli: 0 for the likeliest tokens. checked: whether it is checked for certain, for half of the
    price more; None: as the node is set.
    """

    model: str
    messages: tuple[ChatMessage, ...]
    max_new_tokens: int
    max_price_wei: int
    timeout_ms: int
    min_reputation: int
    with_bonus: bool
    uncalibrated: bool
    temperature_milli: int = 0
    kind: str = "generate"
    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    checked: bool | None = None
    prompt: str = ""
    rules: TokenRules = NO_RULES
    alone: bool = False

    @property
    def is_ruled(self) -> bool:
        """Whether its input is of version 2, which earlier nodes do not know."""
        return bool(self.prompt or self.rules.plain)


class ModelCare(Protocol):
    """The models of the content store, as the daemon's API sees them. A model is meant as in JobAsk."""

    async def models(self) -> tuple[views.ModelView, ...]:
        """Every model of which anything is in the content store."""

    async def model(self, name: str) -> views.ModelView:
        """One model in the content store, with its files. Raises: Fault unknown_model, ambiguous."""

    async def shape(self, name: str) -> ModelShape:
        """The shape of a model that is known here or that peers describe.

        Raises: Fault unknown_model, ambiguous, bad_model, unavailable.
        """

    async def take_step(self, step: ModelStep, name: str) -> views.ModelView:
        """Pin a model, let it be evicted again, or remove all of it. Returns: as it was before a removal, else after.

        Raises: Fault unknown_model, ambiguous, in_use.
        """

    def pull(self, name: str) -> AbstractAsyncContextManager[AsyncIterator[views.PullView]]:
        """Fetch a model from peers, with its progress; leaving ends it, and the next pull goes on from there.

        Raises: Fault unknown_model, ambiguous, bad_model, store_full, unavailable.
        """


class HoldCare(Protocol):
    """What holds new work back, as the daemon's API sees it."""

    async def view(self) -> views.HoldsView:
        """The holds, and what still runs."""

    async def take_step(self, step: HoldStep) -> views.HoldsView:
        """Take the owner's word, which a restart keeps; safe to do twice. Returns: the holds after it.

        Raises: Fault preflight where this node runs no jobs of others.
        """

    def follow(self) -> AbstractAsyncContextManager[AsyncIterator[views.HoldsView]]:
        """The holds now and after every change, until nothing runs."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The size of a job before it is asked for.

    prompt_tokens: of what its user wrote, without what the model's template puts around it. max_new_tokens: those that
    it may cost; of a kind that only reads, the units that its texts need.
    """

    prompt_tokens: int
    max_new_tokens: int


class Backend(Protocol):
    """The daemon, as its API sees it."""

    @property
    def shelf(self) -> ModelCare:
        """The models of the content store."""

    @property
    def holds(self) -> HoldCare:
        """What holds new work back."""

    async def snapshot(self) -> views.Snapshot:
        """The snapshot of `vcoin status`. Answers at once from what the node already knows, also while it starts."""

    async def ask_job(self, ask: JobAsk) -> str:
        """Admit a job (`node.api.admission.admit`), store its sealed input, put JobAsked on the driver.

        Returns: the id to show and follow it by, once the requester has the request: its id in hex.
        Raises: Fault unknown_model, prompt_too_long, no_deposit, price_over_cap, no_able_node, not_ready.
        """

    async def measure(self, ask: JobAsk) -> Measure:
        """The size of a job, by the tokenizer of its model. Raises: Fault unknown_model, prompt_too_long, too_large."""

    async def jobs(self) -> tuple[views.JobView, ...]:
        """All jobs that the journal knows, newest first, on either side; `text` may be left empty here."""

    async def job(self, prefix: str) -> views.JobView:
        """One job. Raises: Fault not_found or ambiguous."""

    def follow(self, prefix: str) -> AbstractAsyncContextManager[AsyncIterator[views.JobUpdate]]:
        """A job as it goes on: its view now with the text so far, then every change; ends when the job has ended.

        The first look and the subscription happen at once, so that nothing is lost between them. `node.api.feed.Feed`
        is such a source. A reader that falls behind is cut off with Fault busy.
        Raises: Fault not_found or ambiguous, when it is entered.
        """

    async def stop_job(self, prefix: str) -> views.JobView:
        """Stop a job of this node's user: it ends for nothing, or at its next token and costs what was written.

        Does nothing to a job that has its answer, or has ended. Returns: the job as it stands then.
        Raises: Fault not_found, ambiguous; bad_request for a job of another client, and for one that only reads.
        """

    async def job_proof(self, prefix: str, *, with_content: bool) -> dict[str, Any]:
        """The proof of a job as far as it has come, as its file holds it (docs/verify.md).

        Raises: Fault not_found, ambiguous, not_ready before a node was given the job; ChainError.
        """

    async def case(self, prefix: str) -> views.CaseView:
        """One case, by the id of its batch or of a job in it. Raises: Fault not_found or ambiguous."""

    async def case_leaves(self, prefix: str) -> views.LeavesView:
        """The leaves of a case that this node holds, in the clear. Raises: Fault not_found or ambiguous."""

    async def add_model(self, source: str, base: str = "") -> views.ModelView:
        """Put a model into the content store: the absolute path of a Hugging Face directory or GGUF file, or "smollm2".

        Args: base, the name or id of a model in the store; `source` is then the folder of a LoRA adapter, and the new
        model is that one with it.
        Safe to do twice. Raises: Fault bad_model, store_full, unknown_model; preflight where no container can be run
        to convert it.
        """

    async def account(self) -> views.AccountView:
        """The client's money, read at the newest block."""

    async def deposit(self, amount_wei: int, *, dry_run: bool) -> views.PlanView:
        """Pay into the client's account with the client key: simulated, and only then sent unless `dry_run`.

        Raises: Reverted with the contract's error, nothing sent; ChainError.
        """

    async def withdraw(self, amount_wei: int, *, dry_run: bool) -> views.PlanView:
        """Take free money out of the client's account. Raises: as deposit."""

    async def move_lane(self, step: LaneStep, prefix: str, amount_wei: int, *, dry_run: bool) -> views.PlanView:
        """Lock more for a node, start to take the rest back, or take it back; only OPEN looks at the amount.

        Raises: Fault not_found; else as deposit.
        """

    async def score(self, prefix: str) -> views.ScoreView:
        """A node's score and its terms, read from the chain; "me" is this node. Raises: Fault not_found."""
