"""`vcoin deploy`: a network's contracts on any chain. Without --broadcast it only says what it would do."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from node.api.faults import Exit, Fault
from node.cli.ui import output
from node.cli.ui.options import AddressesOf, AddressOf, Flag
from node.cli.ui.plan import PlanOutcome, as_plain, described
from node.cli.ui.wallet import unlock

if TYPE_CHECKING:
    from chain.contracts.timelock import Governance
    from node.cli.ui.types import Address, Key


@dataclass(frozen=True)
class _Order:
    """The options, checked as far as no chain is needed."""

    rpc: tuple[str, ...]
    chain_id: int | None
    profile: str
    deployer: "Address"
    key: "Key | None"
    governance: "Governance | None"
    runtime: bytes
    out: Path | None


def deploy(
    *,
    rpc: Annotated[tuple[str, ...], Parameter(metavar="URL", negative="")],
    profile: Literal["local", "testnet", "main"],
    key: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    password_file: Path | None = None,
    deployer: AddressOf | None = None,
    chain_id: int | None = None,
    proposer: AddressesOf = (),
    canceller: AddressesOf = (),
    executor: AddressesOf = (),
    keeper: AddressOf | None = None,
    runtime: Annotated[str, Parameter(metavar="SHA256")] = "",
    out: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    broadcast: Flag = False,
    json: Flag = False,
) -> int:
    """Plan a deployment; with --broadcast carry it out, go on with an interrupted one, or check one that is complete.

    Exit code 4 if the chain, the fees or the gas money do not allow it: each reason comes with what to do about it.

    Parameters
    ----------
    rpc
        A JSON-RPC endpoint of the chain; again for a second one.
    profile
        The numbers of the network: local for a chain of one machine, testnet, main.
    key
        Key file of the deployer, who gets the whole supply of the coin and no other power.
    password_file
        Its first line unlocks the key; nothing: VCOIN_PASSWORD, else a question.
    deployer
        Instead of a key, to plan only.
    chain_id
        What the endpoint must serve; nothing: whatever it serves.
    proposer
        Who may propose to the timelock, and cancel; again for another one. On a local chain nothing: the deployer.
    canceller
        Who may cancel and nothing else.
    executor
        Who may carry out what has waited long enough; nothing: everybody.
    keeper
        Who may pause new obligations for at most 72 hours, once a week. On a local chain nothing: the deployer.
    runtime
        Hash of the runner that the device classes stand for; nothing: that of this release.
    out
        Where the addresses are kept; nothing: deployments/CHAIN-ID.json.
    broadcast
        Send the transactions.
    json
        Print JSON to stdout.
    """
    import trio

    if broadcast and key is None:
        raise Fault("bad_request", "--broadcast needs the deployer's key", "--key FILE")
    order = _Order(
        rpc=_urls(rpc),
        chain_id=chain_id,
        profile=profile,
        deployer=_deployer(key, deployer),
        key=unlock(key, password_file, "the deployer's key") if broadcast and key else None,
        governance=_governance(proposer, canceller, executor, keeper),
        runtime=_runtime(runtime),
        out=out,
    )
    outcome = trio.run(_carry_out, order)
    output.show(json, as_plain(outcome), lambda: described(outcome))
    for each in outcome.found:
        if not json and not each.refused:
            output.words(f"warning: {each.what}")
            output.words(f"hint: {each.fix}")
    if outcome.refused:
        first, *others = outcome.refused
        more = f" (and {len(others)} more)" if others else ""
        raise Fault("preflight", first.what + more, first.fix)
    return Exit.OK


async def _carry_out(order: _Order) -> PlanOutcome:
    from chain.abi.interface import interface
    from chain.contracts.profiles import POLL_S, profiles
    from chain.contracts.timelock import Governance
    from chain.deploy.deployment import deploy as deploy_contracts
    from chain.deploy.deployment import first_classes, plan, read_begun
    from chain.deploy.survey import LOCAL_CHAINS, findings, refusals, survey
    from chain.rpc.endpoints import Rpc, open_rpc
    from chain.rpc.ethereum import Ethereum

    asking = Rpc(order.rpc, order.chain_id or 0)
    try:
        chain_id = await asking.served_chain()
    finally:
        asking.close()
    if order.chain_id not in (None, chain_id):
        message = f"the endpoint serves chain {chain_id}, not {order.chain_id}"
        raise Fault("preflight", message, f"another --rpc, or --chain-id {chain_id}")
    rulers = order.governance
    if rulers is None:
        if chain_id not in LOCAL_CHAINS:
            raise Fault("bad_request", "no one is named to govern the network", "--proposer ADDRESS --keeper ADDRESS")
        rulers = Governance((order.deployer,), order.deployer)
    path = order.out or Path("deployments") / f"{chain_id}.json"
    profile, classes = profiles()[order.profile], first_classes(order.runtime)
    async with open_rpc(order.rpc, chain_id) as rpc:
        ethereum = Ethereum(rpc)
        begun = read_begun(path, chain_id, order.deployer, profile)
        made = await plan(ethereum, order.deployer, profile, classes, governance=rulers, begun=begun)
        seen = await survey(ethereum, order.deployer, max(len(interface(each.name).runtime) for each in made.creations))
        found = findings(seen, made)
        if order.key is None or refusals(found):
            return PlanOutcome(path, seen, made, found, begun)
        deployment = await deploy_contracts(
            ethereum, order.key, profile, classes, governance=rulers, path=path, poll_s=min(POLL_S[order.profile], 1.0)
        )
        paid = seen.balance - await ethereum.balance(order.deployer)
        return PlanOutcome(path, seen, made, found, deployment, paid_wei=max(0, paid), was_sent=True)


def _urls(given: tuple[str, ...]) -> tuple[str, ...]:
    from node.endpoints import require_url

    for url in given:
        try:
            require_url(url)
        except ValueError as error:
            raise Fault("bad_request", f"--rpc: {error}"[:200], "--rpc http://127.0.0.1:8545") from error
    return given


def _deployer(key: Path | None, named: "Address | None") -> "Address":
    from chain.tx.keystore import address_of

    holder = address_of(key) if key else named
    if holder is None:
        raise Fault("bad_request", "whose deployment?", "--key FILE, or --deployer ADDRESS to plan only")
    if named not in (None, holder):
        raise Fault("bad_request", f"the key of {key} is that of {holder}, not of {named}", "leave --deployer out")
    return holder


def _governance(
    proposers: "tuple[Address, ...]",
    cancellers: "tuple[Address, ...]",
    executors: "tuple[Address, ...]",
    keeper: "Address | None",
) -> "Governance | None":
    """The named accounts; None without any."""
    from chain.contracts.timelock import ANYBODY, Governance

    if not (proposers or cancellers or executors or keeper):
        return None
    if not proposers or not keeper:
        missing = "--keeper" if proposers else "--proposer"
        raise Fault("bad_request", "name all who govern, or none", f"{missing} ADDRESS")
    return Governance(proposers, keeper, cancellers=cancellers, executors=executors or (ANYBODY,))


def _runtime(text: str) -> bytes:
    if not text:
        from executor.images import runtime

        text = runtime()
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise Fault("bad_request", f"--runtime: {text!r:.80} is no sha256", "64 hex digits")
    return raw
