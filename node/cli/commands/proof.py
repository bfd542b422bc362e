"""`vcoin job proof`: one file with the papers of a job and what the chain says of it, as far as it has come.

`vcoin job verify`: the check of such a file, without a network, and beside the chain where that is wanted.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from node.api.faults import Exit, Fault
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, Common, Flag
from node.cli.ui.phrases import short, size
from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from protocol.proof.check import Check
    from protocol.proof.file import Proof
    from protocol.wire.document import Document

STDOUT = "-"
WITHIN_S = 120.0
"""The daemon reads every log of the batch, from an endpoint that may be slow."""


def proof(
    job: str,
    /,
    *,
    output_: Annotated[str, Parameter(name="--output", metavar="FILE", allow_leading_hyphen=True)] = "",
    with_content: Flag = False,
    fill_from: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    common: Common = COMMON,
) -> int:
    """Write a job's proof: signed papers, leaf, draw, scores, verdict, payments, each with its transaction.

    Says what is missing yet; run it again later for the rest. vcoin job verify checks the file, anywhere.

    Parameters
    ----------
    job
        Its id, or the beginning of it; of a job that this node asked for or did.
    output_
        Where to write it; - is stdout, nothing: job-ID.proof.json here.
    with_content
        Put in question and answer, in the clear, and the key that opens both: each reader of the file can read it.
    fill_from
        The other side's proof of the same job: take over what is missing here, as the way to the root of its batch.
    """
    from protocol.wire import document

    other = _other(fill_from) if fill_from else None
    door = client(common.data_dir)
    raw = door.post("jobs", job, "proof", body={"with_content": with_content}, within_s=WITHIN_S)
    data = document.encode(raw)
    read, checks = checked(data, "what the daemon has put together")
    if other is not None:
        data = _filled(read.value, other, str(fill_from)).encode()
        read, checks = checked(data, "what both files make together")
    if output_ == STDOUT:
        output.data([data.decode()])
    else:
        path = Path(output_ or f"job-{short(read.value.papers.details.request_id.hex())}.proof.json")
        _keep(path, data)
        output.words(f"wrote {path}, {size(len(data))}")
    if with_content:
        output.words("it holds the question, the answer and their key: give it only to who may read them")
    return _tell(output_ or "", checks, common)


def read_file(file: Path) -> bytes:
    """Raises: Fault for what cannot be read; of what is larger than any proof, enough to refuse it."""
    from protocol.proof.file import MAX_FILE_BYTES

    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Fault("not_found", f"cannot read {file}: {reason}", "vcoin job proof ID writes one") from error


def _other(file: Path) -> "Proof":
    """The other side's proof, in which nothing may be wrong. Raises: Fault."""
    from protocol.proof.verify import has_failed

    document, checks = checked(read_file(file), str(file))
    if has_failed(checks):
        raise Fault("bad_proof", f"{file} contradicts itself", f"vcoin job verify {file}")
    return document.value


def _filled(ours: "Proof", theirs: "Proof", name: str) -> "Proof":
    """Raises: Fault for a proof of something else."""
    from protocol.errors import Malformed
    from protocol.proof.joint import filled

    try:
        return filled(ours, theirs)
    except Malformed as error:
        raise Fault("bad_proof", f"{name} cannot fill this one: {error}", "it must be of the same job") from error


def checked(data: bytes, name: str) -> "tuple[Document[Proof], tuple[Check, ...]]":
    """A proof that came from anywhere, and what came of each check. Raises: Fault bad_proof in one sentence."""
    from node.wallet.sealing import seal
    from protocol.errors import Malformed, TooLarge
    from protocol.proof.file import read_proof
    from protocol.proof.verify import verify

    try:
        document = read_proof(data)
    except (Malformed, TooLarge) as error:
        raise Fault("bad_proof", f"{name} is no proof of a job: {error}", "vcoin job proof ID writes one") from error
    return document, verify(document, seal)


def plain_checks(checks: "tuple[Check, ...]") -> list[dict[str, Any]]:
    """Checks for JSON."""
    return [{"check": each.name, "result": each.outcome.value, "words": each.words} for each in checks]


def _tell(target: str, checks: "tuple[Check, ...]", common: Common) -> int:
    """The missing parts, and whether anything in the file is wrong."""
    from protocol.proof.check import CheckOutcome
    from protocol.proof.verify import has_failed

    if common.json and target != STDOUT:
        output.as_json(plain_checks(checks))
    else:
        for words in dict.fromkeys(each.words for each in checks if each.outcome is CheckOutcome.ABSENT):
            output.words(f"not in it: {words}")
    for each in checks:
        if each.outcome is CheckOutcome.FAILED:
            output.error(f"{each.name}: {each.words}")
    return Exit.FAILED if has_failed(checks) else Exit.OK


def _keep(path: Path, data: bytes) -> None:
    """Whole or not at all, for its user alone, and over nothing but an older proof. Raises: Fault."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        if path.exists() and not path.read_bytes()[:1_024].startswith(b'{"'):
            raise Fault("bad_request", f"{path} is there already, and is no proof", "name another --output")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        partial.replace(path)
    except OSError as error:
        raise Fault("bad_request", f"cannot write {path}: {error.strerror}", "name another --output") from error


def verify(
    file: Path,
    /,
    *,
    rpc: Annotated[str, Parameter(metavar="URL")] = "",
    deployment: Path | None = None,
    rerun: Flag = False,
    common: Common = COMMON,
) -> int:
    """Check a job's proof: signatures, hashes, leaf, sums, draw, seats, scores, verdict and split of the pay.

    Needs no node and no network. Exit code: 0 nothing is wrong, 1 something is, or this is no proof.

    Parameters
    ----------
    file
        What vcoin job proof wrote.
    rpc
        Also compare every part with the chain behind this endpoint.
    deployment
        With --rpc: the addresses file of the network's contracts; nothing: the node's setting.
    rerun
        Also compute in containers of this machine: the answer's score, and how far a fresh answer agrees with it.
    """
    document, checks = checked(read_file(file), str(file))
    if rpc:
        from node.cli.ui.confirm import confirmed

        checks += confirmed(document.value, rpc, deployment, common)
    if rerun:
        checks += _computed(document.value, common)
    return _show_all(checks, common)


def _computed(proof: "Proof", common: Common) -> "tuple[Check, ...]":
    """Raises: ConfigError, ExecutorError where this machine cannot run the model."""
    from node.cli.ui.rerun import open_bench, rerun

    memory = config_of(common.data_dir).executor.memory
    with open_bench(common) as bench:
        return rerun(proof, bench, memory)


def _show_all(checks: "tuple[Check, ...]", common: Common) -> int:
    from protocol.proof.verify import has_failed

    failed, head = has_failed(checks), ("check", "result", "what")
    rows = [(each.name, each.outcome.value, each.words) for each in checks]
    found = {"ok": not failed, "checks": plain_checks(checks)}
    output.show(common.json, found, lambda: output.table(head, rows))
    wrong = [each.name for each in checks if each.outcome.value == "failed"]
    if wrong:
        output.error(f"{len(wrong)} of {len(checks)} checks failed: {', '.join(wrong)}", "the table says why")
    else:
        output.words("nothing in it is wrong")
    return Exit.FAILED if failed else Exit.OK
