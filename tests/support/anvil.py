"""One Anvil chain for a test: started on a free port, gone when the test ends."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from chain.rpc.endpoints import Rpc
from chain.rpc.ethereum import Ethereum
from chain.tx.wallet import Key
from protocol.params import VCN
from protocol.wire.ids import Address
from scripts.setup import node_tools

CHAIN_ID = 31337
ETHER = VCN
"""The chain's own coin has as many decimals as ours."""
RICH = 1_000 * ETHER
_LISTENING = re.compile(rb"Listening on ([0-9.]+:[0-9]+)")


@dataclass(frozen=True, slots=True)
class Anvil:
    """A running chain. Blocks come with transactions, every `block_time` seconds, or when `mine` is called."""

    url: str
    process: subprocess.Popen[bytes]
    reader: threading.Thread

    def stop(self) -> None:
        """End it, even if it was stopped by a signal; safe to call twice."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=10)
        self.reader.join(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()


def start_anvil(*arguments: str, port: int = 0, chain_id: int = CHAIN_ID) -> Anvil:
    """Start a chain and return once it listens. Ports are given out by the system unless one is named."""
    installed = node_tools.anvil()
    program = str(installed) if installed.is_file() else shutil.which("anvil")
    assert program, "anvil is not installed: run `npm ci` in hardhat-local/"
    command = [program, "--port", str(port), "--chain-id", str(chain_id), "--accounts", "0", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    said = _read_until_listening(process.stdout)
    found = _LISTENING.search(said)
    if found is None:
        process.kill()
        process.wait()
        process.stdout.close()
        raise AssertionError(f"anvil did not start: {said.decode(errors='replace')}")
    # It writes a line a call, and stops when they are not read.
    reader = threading.Thread(target=_read_all, args=(process.stdout,), daemon=True)
    reader.start()
    return Anvil(f"http://{found.group(1).decode()}", process, reader)


def _read_until_listening(output: IO[bytes]) -> bytes:
    said = b""
    for line in output:
        said += line
        if _LISTENING.search(line):
            break
    return said


def _read_all(output: IO[bytes]) -> None:
    while output.read(65_536):
        pass


@contextmanager
def anvil(*arguments: str, chain_id: int = CHAIN_ID) -> Iterator[Anvil]:
    """A chain that blocks come to with transactions; `--block-time 1` and the like change that."""
    chain = start_anvil(*arguments, chain_id=chain_id)
    try:
        yield chain
    finally:
        chain.stop()


class Controls:
    """Acts that only a test may do to its chain."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self.ethereum = Ethereum(rpc)

    async def mine(self, blocks: int = 1) -> None:
        """Make empty blocks, a second apart."""
        await self._rpc.request("anvil_mine", hex(blocks), "0x1")

    async def warp(self, seconds: int) -> None:
        """Let the next block come `seconds` later, and make it."""
        await self._rpc.request("evm_increaseTime", seconds)
        await self.mine()

    async def enrich(self, *accounts: Address | Key) -> None:
        """Give accounts plenty for gas."""
        for account in accounts:
            address = account.address if isinstance(account, Key) else account
            await self._rpc.request("anvil_setBalance", address, hex(RICH))

    async def reorg(self, depth: int) -> None:
        """Replace the newest blocks by empty ones."""
        await self._rpc.request("anvil_reorg", depth, [])

    async def automine(self, on: bool) -> None:
        """Whether a transaction makes a block at once."""
        await self._rpc.request("evm_setAutomine", on)

    async def raw(self, method: str, *parameters: Any) -> Any:
        """Any other call."""
        return await self._rpc.request(method, *parameters)
