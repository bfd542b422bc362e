"""The cast: the nodes of the local network, by what they are told and what they have at stake."""

from __future__ import annotations

from dataclasses import replace

from node.localnet.plan import NodePlan
from scripts.story.screen import VCN

REQUESTER, HONEST, CHEAT, JUDGE_1, JUDGE_2 = "requester", "honest", "cheat", "judge-1", "judge-2"


def cast(cheat_image: str) -> tuple[NodePlan, ...]:
    """The five nodes of the first act: the cheat may only judge, with weights cut down to 4 bits."""
    return (
        NodePlan(REQUESTER, ("requester",), 1_000 * VCN, deposit_wei=500 * VCN, coins_wei=500 * VCN),
        NodePlan(HONEST, ("provider", "verifier"), 5_000 * VCN),
        NodePlan(CHEAT, ("verifier",), 20_000 * VCN, settings={"executor.image": cheat_image}),
        NodePlan(JUDGE_1, ("verifier",), 5_000 * VCN),
        NodePlan(JUDGE_2, ("verifier",), 5_000 * VCN),
    )


def greedy(plan: NodePlan) -> NodePlan:
    """The cheat of the second act: it offers to work, too."""
    return replace(plan, roles=("provider", "verifier"))
