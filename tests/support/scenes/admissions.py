"""Jobs that are asked for, and a node that may take them."""

from __future__ import annotations

from node.api.admission import Market
from node.api.backend import ChatMessage, JobAsk
from node.api.views import AccountView, PeerView
from tests.fakes.backend import CLIENT, OWNER, SMOL, VCN, peer

ASK = JobAsk(SMOL.name, (ChatMessage("user", "hi"),), 128, 0, 120_000, 0, with_bonus=True, uncalibrated=False)
ACCOUNT = AccountView(CLIENT, 100 * VCN, (), 0, 0)


def market(*nodes: PeerView, account: AccountView = ACCOUNT) -> Market:
    return Market(nodes or (peer(),), account, 10 * VCN, OWNER)
