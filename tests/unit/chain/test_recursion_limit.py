"""What the chain's libraries do to the whole process, and that a peer's nested JSON cannot use it."""

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
