"""The chain libraries' effect on the whole process, and that a peer's nested JSON cannot use it."""

import subprocess
import sys

NESTED = """
import json, sys
import chain.rpc.endpoints, chain.tx.wallet, eth_account, web3
assert sys.getrecursionlimit() <= 1000, sys.getrecursionlimit()
try:
    json.loads("[" * 99_000)
except RecursionError:
    print("refused")
"""


def test_nested_json_is_refused_after_everything_was_imported() -> None:
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr


PAIRINGS = """
import sys
import chain.rpc.endpoints, chain.tx.wallet, eth_account, web3
assert not [name for name in sys.modules if name.startswith(("py_ecc.bls", "py_ecc.optimized"))]
from py_ecc.bls import G2ProofOfPossession
print(len(G2ProofOfPossession.SkToPk(1)))
"""


def test_pairings_are_loaded_only_by_their_own_import() -> None:
    done = subprocess.run([sys.executable, "-c", PAIRINGS], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "48\n"), done.stderr
