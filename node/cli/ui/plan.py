"""A deployment as a person and as a script reads it: the chain, the plan, what speaks against it, what came of it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.api.faults import vcn
from node.cli.ui import output
from node.cli.ui.phrases import span

if TYPE_CHECKING:
    from chain.contracts.network import Deployment
    from chain.deploy.deployment import Plan
    from chain.deploy.survey import Survey, SurveyFinding

GWEI = 10**9
COINS = frozenset({"min_stake", "recommended_stake", "min_deposit", "min_burn", "court_value"})


@dataclass(frozen=True)
class PlanOutcome:
    """The plan, the facts behind it, and its outcome.

    `deployment` is what stands in the file at `path`, None if there is none; `paid_wei` what this run spent on gas.
    """

    path: Path
    seen: "Survey"
    made: "Plan"
    found: "tuple[SurveyFinding, ...]"
    deployment: "Deployment | None" = None
    paid_wei: int = 0
    was_sent: bool = False

    @property
    def refused(self) -> "list[SurveyFinding]":
        """Why nothing was sent, or would be."""
        return [] if self.was_sent else [each for each in self.found if each.refused]

    @property
    def is_complete(self) -> bool:
        """Whether the network is there and was checked."""
        return self.deployment is not None and self.deployment.complete


def described(outcome: PlanOutcome) -> list[str]:
    """On a screen or two."""
    made = outcome.made
    rows = [
        (
            each.name,
            each.address,
            f"{each.size:,}",
            "-" if each.is_there else f"{each.gas:,}",
            _state(outcome, each.is_there),
        )
        for each in made.creations
    ]
    return [
        *output.section("Chain", output.pairs(_chain(outcome.seen)))[1:],
        *output.section("Contracts", output.table(("contract", "address", "bytes", "gas", "state"), rows)),
        *output.section("Governance", output.pairs(_governance(made))),
        *output.section("Parameters", output.pairs(parameters(asdict(made.profile)))),
        *output.section("Rows", output.pairs(_first_rows(made))),
        *output.section("Cost", output.pairs(_cost(outcome))),
        *([""] + [f"refused: {each.what}\n  {each.fix}" for each in outcome.refused] if outcome.refused else []),
        "",
        _end(outcome),
    ]


def as_plain(outcome: PlanOutcome) -> dict[str, Any]:
    """The same for a script; amounts in wei, times in seconds."""
    seen, made = outcome.seen, outcome.made
    return {
        "chain": {**asdict(seen), "is_local": seen.is_local, "seed_reach_s": seen.seed_reach_s},
        "profile": asdict(made.profile),
        "governance": asdict(made.governance),
        "deployer": made.deployer,
        "first_nonce": made.first_nonce,
        "contracts": [
            {"name": each.name, "address": each.address, "bytes": each.size, "gas": each.gas, "is_there": each.is_there}
            for each in made.creations
        ],
        "classes": [{**asdict(each), "runtime": each.runtime.hex()} for each in made.classes],
        "calibrations": [{"manifest": each.manifest.hex(), "class_id": each.class_id} for each in made.rows],
        "gas": made.gas,
        "cost_wei": made.gas * seen.fee,
        "most_cost_wei": made.gas * seen.most_fee,
        "refused": [{"what": each.what, "fix": each.fix} for each in outcome.refused],
        "warnings": [{"what": each.what, "fix": each.fix} for each in outcome.found if not each.refused],
        "file": str(outcome.path),
        "was_sent": outcome.was_sent,
        "is_complete": outcome.is_complete,
        "paid_wei": outcome.paid_wei,
        "code_hashes": list(outcome.deployment.code_hashes) if outcome.deployment else [],
    }


def parameters(profile: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Every number of a profile with its unit."""
    for name, value in profile.items():
        if name in COINS:
            yield name, f"{vcn(value)} VCN"
        elif name.endswith("_seconds"):
            yield name.removesuffix("_seconds"), span(value * 1_000) if value else "0 s"
        else:
            yield name, str(value)


def _chain(seen: "Survey") -> Iterator[tuple[str, str]]:
    yield "id", f"{seen.chain_id}, {seen.client}, block {seen.head}"
    if seen.block_s is None or seen.slowest_s is None:
        yield "blocks", "too few to measure"
    else:
        makers = f"{seen.proposers} proposer{'s' if seen.proposers != 1 else ''}"
        mean = f"{seen.block_s:.1f} s in the mean of {seen.measured}"
        yield "blocks", f"{mean}, at most {seen.slowest_s:.0f} s, by {makers}"
    yield "EVM", "Cancun" if seen.runs_cancun else "older than Cancun"
    yield "code", f"{seen.code_limit:,} bytes and more" if seen.code_limit else "too small for our contracts"
    yield "fees", "EIP-1559" if seen.base_fee is not None else "without EIP-1559"
    kept = "EIP-2935" if seen.has_history else "without EIP-2935"
    reach = "" if seen.seed_reach_s is None else f", a hash can be had for {span(int(seen.seed_reach_s * 1_000))}"
    yield "history", kept + reach


def _governance(made: "Plan") -> Iterator[tuple[str, str]]:
    rulers = made.governance
    for name, who in (("proposer", rulers.proposers), ("canceller", rulers.cancellers), ("executor", rulers.executors)):
        for number, address in enumerate(who):
            yield "" if number else name, "everybody" if int(address, 16) == 0 else address
    yield "keeper", "none" if int(rulers.keeper, 16) == 0 else rulers.keeper
    yield "delay", f"{span(made.profile.timelock_seconds * 1_000)} between a proposal and its execution"


def _first_rows(made: "Plan") -> Iterator[tuple[str, str]]:
    for each in made.classes:
        yield f"class {each.id}", f"{each.name}, {each.dtype}, {each.isa}, runtime {each.runtime.hex()}"
    for row in made.rows:
        yield "calibration", f"model {row.manifest.hex()} on class {row.class_id}"


def _cost(outcome: PlanOutcome) -> Iterator[tuple[str, str]]:
    seen, made = outcome.seen, outcome.made
    yield "deployer", f"{made.deployer} from nonce {made.first_nonce}, has {vcn(seen.balance)} of the chain's own coin"
    yield "fee", f"{seen.fee / GWEI:.3f} gwei a gas now, {seen.most_fee / GWEI:.3f} offered"
    yield (
        "gas",
        f"{made.gas:,} at most: {vcn(made.gas * seen.fee)} at the present fee, {vcn(made.gas * seen.most_fee)} offered",
    )
    if outcome.was_sent:
        yield "paid", vcn(outcome.paid_wei)
    yield "file", str(outcome.path)


def _state(outcome: PlanOutcome, was_there: bool) -> str:
    if outcome.was_sent:
        return "checked" if was_there else "deployed"
    return "there" if was_there else "planned"


def _end(outcome: PlanOutcome) -> str:
    if outcome.was_sent:
        return f"The network is deployed and checked: {outcome.path}"
    if outcome.refused:
        return "Nothing was sent."
    if outcome.is_complete:
        return "It is deployed already; --broadcast checks it."
    return "Nothing was sent: add --broadcast."
