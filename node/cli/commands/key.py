"""`vcoin key`: keystore files of wallets, such as a node's owner has. The keys of the node itself come with it."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from node.api.faults import Fault
from node.cli.ui import output
from node.cli.ui.options import COMMON, Common, noun

app = noun("key", "Keystore files of wallets: make one, or see whose it is.")
KeyFile = Annotated[Path, Parameter(metavar="FILE")]


@app.command
def create(file: KeyFile, /, *, password_file: Path | None = None, common: Common = COMMON) -> int:
    """Make a new key in a file that only you may read (Web3 secret storage, as geth and cast read it).

    The file and its password together are the wallet: keep a copy of each, apart.

    Parameters
    ----------
    file
        A new file.
    password_file
        Its first line locks the key; nothing: VCOIN_PASSWORD, else a question.
    """
    from chain.tx.keystore import create_key, read_password

    prompt = _ask_twice if output.is_interactive() else None
    password = read_password(password_file, os.environ, prompt, "password for the new key")
    return _tell(file, create_key(file, password).address, common)


@app.command
def show(file: KeyFile, /, *, common: Common = COMMON) -> int:
    """Show the address of a key file's wallet; it stays locked.

    Parameters
    ----------
    file
        A keystore file.
    """
    from chain.tx.keystore import address_of

    return _tell(file, address_of(file), common)


def _tell(file: Path, address: str, common: Common) -> int:
    facts = {"file": str(file), "address": address}
    return output.show(common.json, facts, lambda: output.pairs(facts.items()))


def _ask_twice(question: str) -> str:
    """The typed text is hidden, and a wrong letter would lock the key for good."""
    password = output.ask_secret(question)
    if output.ask_secret("the same again") != password:
        raise Fault("bad_request", "the two passwords differ", "nothing was made: try again")
    return password
