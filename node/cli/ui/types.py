"""Types that commands name in annotations. Only a type checker imports this: at run time it would take too long."""

from chain.contracts.network import Deployment as Deployment
from chain.contracts.network import Network as Network
from chain.rpc.ethereum import Call as Call
from chain.tx.wallet import Key as Key
from node.config import Config as Config
from node.wallet.plans import TransactionPlan as TransactionPlan
from protocol.wire.ids import Address as Address
