"""The daemon's views of itself, a module a noun of the command line; `vcoin`, `--json` and the metrics all read it.

Plain frozen views, so that the command line can read them without the core. Amounts in wei; names end in their unit.
Ids are hex without 0x, addresses checksummed. 0 or "" stands for what is not known yet.
"""

from node.api.views.case import CaseView, LeafView, LeavesView, SeatView, TermView, TokenView
from node.api.views.codec import plain, read, view_of
from node.api.views.hold import HoldsView, HoldView
from node.api.views.job import ANSWERED, JobUpdate, JobView, StepView
from node.api.views.model import ModelFileView, ModelView, PullView
from node.api.views.money import AccountView, BalanceView, CallView, LaneView, PlanView
from node.api.views.node import (
    CardTroubleView,
    CardView,
    ChainView,
    CountView,
    GpuView,
    MachineView,
    ModelServedView,
    PeerView,
    SelfView,
    ServingView,
    Snapshot,
    WatchedView,
    WorkView,
)
from node.api.views.score import ChangeView, ScoreView
from node.api.views.trouble import Trouble
