"""`vcoin job proof` and `vcoin job verify` as a user meets them."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest

from node.api.faults import Exit
from protocol.proof.file import Proof
from protocol.stages.verification import Verdict
from protocol.wire import document
from tests.support.proofs import Bench, proof_of
from tests.unit.node.cli.conftest import Shell

JOB = "ab" * 32


@pytest.fixture
def asked(vcoin: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A user whose daemon has a job that is paid."""
    monkeypatch.chdir(vcoin.data_dir)
    vcoin.backend.proofs[JOB] = document.plain(proof_of())
    return vcoin


async def test_a_proof_is_written_for_its_user_alone_and_holds(asked: Shell) -> None:
    ran = await asked("job", "proof", JOB[:8], "--output", "paid.json")
    assert ran.code == Exit.OK, ran.err
    assert "wrote paid.json, 12 kB" in ran.err
    assert "not in it: the content, which is left out unless it is asked for" in ran.err
    file = asked.data_dir / "paid.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == replace(proof_of(), content=None).encode()
    checked = asked.run("job", "verify", "paid.json")
    assert (checked.code, checked.err) == (Exit.OK, "nothing in it is wrong\n")
    assert "verdict            ok               pass at a median of 9800" in checked.out


async def test_what_the_content_reveals_is_said(asked: Shell) -> None:
    ran = await asked("job", "proof", JOB, "--with-content")
    assert "it holds the question, the answer and their key" in ran.err
    (file,) = asked.data_dir.glob("job-*.proof.json")
    assert b'"content"' in file.read_bytes()


async def test_a_proof_is_written_again_and_over_nothing_else(asked: Shell) -> None:
    (asked.data_dir / "thesis.txt").write_text("chapter one")
    refused = await asked("job", "proof", JOB, "--output", "thesis.txt")
    assert (refused.code, "is no proof" in refused.err) == (Exit.USAGE, True)
    assert (asked.data_dir / "thesis.txt").read_text() == "chapter one"
    for _ in range(2):
        assert (await asked("job", "proof", JOB, "--output", "paid.json")).code == Exit.OK
    nowhere = await asked("job", "proof", JOB, "--output", "/nowhere/at/all.json")
    assert (nowhere.code, "cannot write" in nowhere.err) == (Exit.USAGE, True)


def _requesters() -> Proof:
    """A requester's knowledge of a batch with others' jobs in it."""
    proof = proof_of()
    assert proof.leaf is not None
    papers = replace(proof.papers, fingerprint_hash=None, salt=None)
    return replace(proof, papers=papers, leaf=replace(proof.leaf, siblings=None), content=None)


async def test_what_only_the_node_has_is_filled_from_its_proof_and_no_content(asked: Shell) -> None:
    asked.backend.proofs[JOB] = document.plain(_requesters())
    (asked.data_dir / "sold.json").write_bytes(proof_of().encode())
    ran = await asked("job", "proof", JOB, "--output", "bought.json")
    assert "not in it: the way from the leaf to the root" in ran.err
    ran = await asked("job", "proof", JOB, "--output", "bought.json", "--fill-from", "sold.json")
    assert ran.code == Exit.OK, ran.err
    assert "the way from the leaf" not in ran.err
    assert (asked.data_dir / "bought.json").read_bytes() == replace(proof_of(), content=None).encode()


async def test_a_proof_is_filled_from_nothing_that_is_wrong_or_of_another_job(asked: Shell) -> None:
    asked.backend.proofs[JOB] = document.plain(_requesters())
    wrong = proof_of(Bench(verdict=Verdict.SEVERE))
    other = proof_of(asked=b'{"salt":"5a","messages":[1]}')
    for proof, words in ((wrong, "other.json contradicts itself"), (other, "it is about another job")):
        (asked.data_dir / "other.json").write_bytes(proof.encode())
        ran = await asked("job", "proof", JOB, "--output", "bought.json", "--fill-from", "other.json")
        assert (ran.code, words in ran.err) == (Exit.FAILED, True), ran.err
        assert not (asked.data_dir / "bought.json").exists()


async def test_a_proof_goes_to_stdout_as_it_is(asked: Shell) -> None:
    ran = await asked("job", "proof", JOB, "--output", "-", "--with-content", "--json")
    assert ran.out.encode() == proof_of().encode() + b"\n"


async def test_the_checks_of_a_new_proof_are_there_for_programs(asked: Shell) -> None:
    ran = await asked("job", "proof", JOB, "--output", "paid.json", "--json")
    assert {each["result"] for each in ran.json} == {"ok", "not in the file"}


async def test_a_job_that_nobody_knows_has_no_proof(asked: Shell) -> None:
    ran = await asked("job", "proof", "ffff", "--output", "paid.json")
    assert (ran.code, ran.err) == (Exit.FAILED, "error: no job 'ffff'\nhint: vcoin job list\n")
    assert not (asked.data_dir / "paid.json").exists()


def test_a_proof_that_contradicts_itself_says_where(shell: Shell) -> None:
    proof = proof_of(Bench((9_900, 9_800, 9_700), second=(2_000,) * 7))
    file = shell.data_dir / "forged.json"
    file.write_bytes(proof.encode())
    ran = shell.run("job", "verify", str(file))
    assert (ran.code, "error: 1 of 33 checks failed: verdict\n" in ran.err) == (Exit.FAILED, True)
    assert "the first seats' scores give no reason for the case to go on as it did" in ran.out
    found = shell.run("job", "verify", str(file), "--json").json
    assert found["ok"] is False
    assert [each["check"] for each in found["checks"] if each["result"] == "failed"] == ["verdict"]


def test_a_proof_is_compared_only_with_a_network_that_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VCOIN_CHAIN_DEPLOYMENT", raising=False)
    file = shell.data_dir / "paid.json"
    file.write_bytes(proof_of().encode())
    ran = shell.run("job", "verify", str(file), "--rpc", "http://127.0.0.1:1")
    assert (ran.code, "hint: --deployment names" in ran.err) == (Exit.BAD_CONFIG, True)


def test_a_file_with_a_member_of_a_later_version_is_told_of_it(shell: Shell) -> None:
    plain = json.loads(proof_of().encode())
    plain["case"]["running_margin"] = 7
    file = shell.data_dir / "later.json"
    file.write_bytes(document.encode(plain))
    ran = shell.run("job", "verify", str(file))
    assert ran.code == Exit.OK
    assert "case.running_margin  not checked here" in ran.out
