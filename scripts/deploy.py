"""Deploy a network, go on with a deployment that was interrupted, or check one that is complete.

    python -m scripts.deploy --rpc http://127.0.0.1:8545 --chain-id 31337 --profile local \\
        --key deployer.json --runtime <sha256 of the runner> --out deployments/31337.json

--plan only says what would be done. The password of the key comes from --password-file, VCOIN_PASSWORD or a prompt.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from dataclasses import asdict
from pathlib import Path

import trio

from chain.deployment import NAMES, Plan, deploy, first_classes, plan
from chain.ethereum import Ethereum
from chain.keystore import load_key, read_password
from chain.network import Deployment
from chain.profiles import profiles
from chain.rpc import open_rpc
from chain.wallet import Key
from protocol.errors import ConfigError, NodeError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.deploy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rpc", action="append", required=True, help="an endpoint; again for a second one")
    parser.add_argument("--chain-id", type=int, required=True)
    parser.add_argument("--profile", choices=sorted(profiles()), required=True)
    parser.add_argument("--key", type=Path, required=True, help="key file of the deployer, who gets the whole supply")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--runtime", required=True, help="sha256 of the runner, in hex: what the classes stand for")
    parser.add_argument("--out", type=Path, required=True, help="where the addresses are kept")
    parser.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    return parser.parse_args()


def _runtime(text: str) -> bytes:
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ConfigError("--runtime is no sha256", "64 hex digits")
    return raw


def _show_plan(made: Plan) -> None:
    print(f"chain {made.chain_id}, deployer {made.deployer} from nonce {made.first_nonce}, about {made.gas:,} gas")
    for name, address in zip(NAMES, asdict(made.addresses).values(), strict=True):
        print(f"  {name:<13} {address}")
    for name, value in asdict(made.profile).items():
        print(f"  {name:<26} {value}")
    for row in made.classes:
        print(f"  class {row.id:<2} {row.name}, runtime {row.runtime.hex()}")
    for file in made.calibrations:
        print(f"  calibration {file.manifest.hex()}, classes {', '.join(map(str, sorted(file.classes)))}")


async def _run(given: argparse.Namespace, key: Key) -> Plan | Deployment:
    profile, classes = profiles()[given.profile], first_classes(_runtime(given.runtime))
    async with open_rpc(given.rpc, given.chain_id) as rpc:
        ethereum = Ethereum(rpc)
        if given.plan:
            return await plan(ethereum, key.address, profile, classes)
        return await deploy(ethereum, key, profile, classes, path=given.out)


def main() -> int:
    """Exit code: 0 done, 1 failed."""
    given = _arguments()
    try:
        password = read_password(given.password_file, os.environ, getpass.getpass, "password of the deployer's key: ")
        done = trio.run(_run, given, load_key(given.key, password))
    except NodeError as error:
        print(f"error: {error}", file=sys.stderr)
        if isinstance(error, ConfigError) and error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return 1
    if isinstance(done, Plan):
        _show_plan(done)
    else:
        print(f"{given.out}: {done.profile} on chain {done.chain_id}, settlement {done.addresses.settlement}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
