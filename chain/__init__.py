"""Ethereum, and only here: endpoints, keys, transactions, the contracts and what they say."""

import sys
from types import ModuleType

# eth_account reads keystores through eth_keyfile, which takes two names for keys of validators from py_ecc. To import
# those computes pairings, half as long as all else takes. Wallets make no such key: placeholders stand there.
_CURVE_ORDER = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
_PAIRINGS: dict[str, dict[str, object]] = {
    "py_ecc.bls": {"G2ProofOfPossession": None},
    "py_ecc.bls12_381": {"curve_order": _CURVE_ORDER},
}
_placeholders = {name: ModuleType(name) for name in _PAIRINGS if name not in sys.modules}
for _name, _module in _placeholders.items():
    vars(_module).update(_PAIRINGS[_name])
sys.modules.update(_placeholders)

# py_ecc raises the recursion limit to 100,000 for the whole process. Deeply nested JSON of a peer or a container would
# then run through the C stack and end the daemon, where it now is a RecursionError.
_limit = sys.getrecursionlimit()
import eth_account  # noqa: E402, F401

sys.setrecursionlimit(_limit)
for _name in _placeholders:
    del sys.modules[_name]
