"""Every command: what it shows, as text and as JSON, and how it ends."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from cyclopts import App

from node.api import views as views
from node.api.faults import Exit, Fault
from node.cli import NOUNS, application
from node.cli.commands.status import overview
from node.journal import open_journal
from tests.fakes.backend import CLIENT, CLOSES_AT, PROVIDER, SMOL, VCN, VERIFIER, peer
from tests.support.scenes.commands import commands
from tests.support.scenes.followed_jobs import ASK as ASKED
from tests.support.source_tree import name_of, parsed, product_modules
from tests.unit.node.cli.conftest import Shell

ASK = ("job", "run", "Why is the sky blue?", "--model", SMOL.name)
COMMANDS = (
    *(("status",), ("node", "status"), ("node", "score", "me"), ("node", "metrics")),
    *(("account", "show"), ("account", "deposit", "1", "--dry-run"), ("account", "withdraw", "1", "--dry-run")),
    *(("lane", "list"), ("lane", "open", PROVIDER, "1", "--dry-run")),
    *(("model", "list"), ("model", "add", "--smollm2"), ("job", "list"), ("config", "show")),
)


async def test_status_shows_what_the_node_does(vcoin: Shell) -> None:
    ran = await vcoin("status")
    assert ran.code == Exit.OK
    for words in ("ready for 60 s", "0x" + "aa" * 20, "5000 VCN, active", "45.00, 100 % of its jobs", "block 120"):
        assert words in ran.out
    assert (await vcoin("node", "status")).out == ran.out


async def test_status_shows_the_numbers_that_are_watched(vcoin: Shell) -> None:
    card = views.GpuView("Tesla T4", 1, 71, 9 * 2**30, 16 * 2**30, 50)
    vcoin.backend.machine = replace(vcoin.backend.machine, gpus=(card,))
    vcoin.backend.watched = replace(vcoin.backend.watched, temperature_c=71)
    ran = await vcoin("status")
    for words in (
        "4 since the start, 1.5 s in the mean, 25 % of the last 50 failed",
        "GPU 71 C, memory 3.2 GB in use, 157 MB by the daemon, peers answer in 12 ms, 100 % of 2 cases passed",
    ):
        assert words in ran.out


async def test_status_shows_each_card_and_what_is_wrong_with_it(vcoin: Shell) -> None:
    trouble = views.CardTroubleView("power_capped", "its clocks are lowered by its power limit of 70 W", "")
    card = views.CardView(
        *("GPU-1", 3, "Tesla T4", "7.5", "", "ready", 71, 7 * 2**30, 16 * 2**30, 50, 65, 70, -1, 1),
        troubles=(trouble,),
    )
    vcoin.backend.machine = replace(vcoin.backend.machine, cards=(card,))
    ran = await vcoin("status")
    assert "card 3 Tesla T4, READY: 7.5 GB of 17.2 GB in use, 71 C, 50 % busy, 65 of 70 W" in ran.out
    assert "power capped: its clocks are lowered by its power limit of 70 W" in ran.out
    (shown,) = (await vcoin("status", "--json")).json["machine"]["cards"]
    assert (shown["uuid"], shown["temperature_c"], shown["troubles"][0]["kind"]) == ("GPU-1", 71, "power_capped")


async def test_metrics_are_what_a_scrape_reads_and_json_what_the_snapshot_has(vcoin: Shell) -> None:
    ran = await vcoin("node", "metrics")
    assert "\nvcoin_task_seconds_mean 1.5\n" in ran.out
    status = (await vcoin("status", "--json")).json
    assert (await vcoin("node", "metrics", "--json")).json == {**status["watched"], "serving": status["serving"]}


async def test_status_shows_speed_first_tokens_waiting_and_engines(vcoin: Shell) -> None:
    ran = await vcoin("status")
    for words in (
        "2 streams, 13.4 tokens a second, 3 jobs and 1 checks wait, the longest wait 2.5 s",
        "SmolLM2-135M-Instruct: 4 answers, 100 tokens, first token after 500 ms, 20.0 tokens a second in a stream",
        "1 loaded, 4 started, ended: 2 idle, 1 failed; 5 models evicted",
    ):
        assert words in ran.out
    assert (await vcoin("status", "--json")).json["serving"]["engine_ends"][0] == {"kind": "idle", "count": 2}


def test_journal_shows_what_was_set_aside_without_a_daemon(shell: Shell) -> None:
    with open_journal(shell.data_dir) as journal:
        assert shell.run("node", "journal").err == "nothing was set aside\n"
        trio.run(journal.set_aside, 7, 1_700_000_000_000, "JobAsked", "ValueError at request.py:88: over 24 GiB")
        trio.run(journal.set_aside, 0, 1_700_000_000_000, "Tick", "KeyError at member.py:9: 3")
        ran = shell.run("node", "journal")
        assert ran.code == Exit.OK
        assert re.search(r"7 +2023-11-1\d .* JobAsked  ValueError at request.py:88: over 24 GiB\n", ran.out)
        assert shell.run("node", "journal", "--json").json[1] == {
            "seq": 0,
            "at_ms": 1_700_000_000_000,
            "event": "Tick",
            "reason": "KeyError at member.py:9: 3",
        }


def test_journal_of_no_node_is_a_setting_that_cannot_be_used(shell: Shell) -> None:
    ran = shell.run("node", "journal")
    assert ran.code == Exit.BAD_CONFIG
    assert "there is no journal at" in ran.err


def test_journal_of_a_directory_that_is_named_is_shown_whatever_the_settings_say(shell: Shell) -> None:
    with open_journal(shell.data_dir):
        (shell.data_dir / "config.toml").write_text("[node", "utf-8")
        assert shell.run("node", "journal").err == "nothing was set aside\n"


async def test_status_says_what_is_wrong_and_what_to_do(vcoin: Shell) -> None:
    vcoin.backend.troubles = (views.Trouble("preflight", "Docker does not answer", "systemctl start docker"),)
    ran = await vcoin("status")
    assert ran.err == "error: Docker does not answer\nhint: systemctl start docker\n"


async def test_nodes_are_listed_best_first(vcoin: Shell) -> None:
    vcoin.backend.nodes = [peer(score=1_000), peer(VERIFIER, online=False, score=9_000)]
    head, *rows = (await vcoin("status", "--nodes")).out.splitlines()
    assert head.split()[:3] == ["NODE", "STATE", "SCORE"]
    assert [row.split()[:3] for row in rows] == [
        [VERIFIER[:10], "offline", "90.00"],
        [PROVIDER[:10], "online", "10.00"],
    ]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
async def test_json_is_all_that_comes_to_stdout(vcoin: Shell, command: tuple[str, ...]) -> None:
    ran = await vcoin(*command, "--json")
    assert ran.code == Exit.OK
    assert isinstance(ran.json, dict | list)


ALL = dict(commands(application()))


def test_every_command_that_is_documented_is_there() -> None:
    page = (Path(__file__).parents[4] / "docs" / "wallet.md").read_text("utf-8")
    named = set(re.findall(r"`(vcoin [a-z][a-z -]*)`", page))
    assert len(named) > 40
    assert named - ALL.keys() == set()


def test_every_command_that_a_wallet_sends_is_documented() -> None:
    page = (Path(__file__).parents[4] / "docs" / "wallet.md").read_text("utf-8")
    sending = {name for name, app in ALL.items() if "* `--key FILE`: " in app.generate_docs()} - {"vcoin deploy"}
    assert len(sending) > 25
    assert {name for name in sending if f"`{name}`" not in page} == set()


SAID = re.compile(r"vcoin ([a-z][a-z-]*(?: [a-z][a-z-]*)*)((?: [A-Z]+| --[a-z-]+)*)")


def said_commands() -> Iterator[tuple[str, list[str], list[str]]]:
    """A command that the product names to a person: the place, the words that follow, its options."""
    for path in product_modules():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for words, rest in SAID.findall(node.value):
                    yield f"{name_of(path)}:{node.lineno}", words.split(), re.findall(r"--[a-z-]+", rest)


def find(words: list[str]) -> tuple[App, list[str]]:
    """The command or the noun that words begin with, and the words that are left."""
    at = application()
    while words and words[0] in set(at) and not words[0].startswith("-"):
        at, words = at[words[0]], words[1:]
    return at, words


def is_noun(app: App) -> bool:
    return any(not verb.startswith("-") for verb in app)


def test_every_command_that_is_named_to_a_person_is_there() -> None:
    found = list(said_commands())
    assert len(found) > 50
    for place, words, options in found:
        at, left = find(words)
        # Prose may follow a command, but what follows a noun is one.
        assert not (left and is_noun(at)), f"{place}: vcoin {' '.join(words)}"
        if options and not left and not is_noun(at):
            known = f"{at.generate_docs()} --help"
            assert all(option in known for option in options), f"{place}: vcoin {' '.join(words)} {options}"


@pytest.mark.parametrize("name", ALL)
def test_help_explains_every_command_and_option(name: str) -> None:
    assert ALL[name].help
    options = [line for line in ALL[name].generate_docs().splitlines() if line.startswith("* `")]
    assert all(re.match(r"\* `[^`]+`: \w", option) for option in options), options
    assert any(option.startswith("* `--json`") for option in options)


@pytest.mark.parametrize("noun", [(), *((name,) for name in NOUNS)], ids=lambda noun: " ".join(noun) or "vcoin")
def test_help_lists_what_can_follow(shell: Shell, noun: tuple[str, ...]) -> None:
    ran = shell.run(*noun, "--help")
    assert (ran.code, ran.err) == (Exit.OK, "")
    assert ran.out.startswith(f"Usage: {' '.join(('vcoin', *noun))}")


async def test_accounts_money_is_shown_in_full(vcoin: Shell) -> None:
    vcoin.backend.free_wei = 3 * VCN + 1
    ran = await vcoin("account", "show")
    assert "free      3.000000000000000001 VCN" in ran.out
    assert CLIENT in ran.out


async def test_deposit_is_shown_then_confirmed_then_sent(vcoin: Shell, answers: Callable[..., None]) -> None:
    answers("y")
    ran = await vcoin("account", "deposit", "2.5")
    assert ran.code == Exit.OK
    assert "call     Settlement.deposit(amount=2500000000000000000) at 0xsettle" in ran.out
    assert "gas      61,000, at most 0.000061 ETH" in ran.out
    assert "account: 1000 VCN > 1002.5 VCN" in ran.out
    assert ran.out.endswith("sent      0x" + "cd" * 32 + "\n")
    assert vcoin.backend.free_wei == 1_002 * VCN + VCN // 2


@pytest.mark.parametrize("answer", ["n", "", "yeah"])
async def test_anything_but_yes_sends_nothing(vcoin: Shell, answers: Callable[..., None], answer: str) -> None:
    answers(answer)
    ran = await vcoin("account", "deposit", "2.5")
    assert (ran.code, vcoin.backend.free_wei) == (Exit.FAILED, 1_000 * VCN)
    assert ran.err.endswith("nothing was sent\n")


async def test_without_a_terminal_a_yes_is_needed(vcoin: Shell) -> None:
    ran = await vcoin("account", "withdraw", "1")
    assert (ran.code, vcoin.backend.free_wei) == (Exit.USAGE, 1_000 * VCN)
    assert ran.err.endswith("hint: add --yes\n")
    assert (await vcoin("account", "withdraw", "1", "--yes")).code == Exit.OK
    assert vcoin.backend.free_wei == 999 * VCN


async def test_json_without_yes_is_a_dry_run(vcoin: Shell) -> None:
    planned = (await vcoin("account", "deposit", "1", "--json")).json
    assert (planned["transactions"], vcoin.backend.free_wei) == ([], 1_000 * VCN)
    sent = (await vcoin("account", "deposit", "1", "--json", "-y")).json
    assert (len(sent["transactions"]), vcoin.backend.free_wei) == (1, 1_001 * VCN)


async def test_lane_is_opened_closed_and_reclaimed(vcoin: Shell) -> None:
    ran = await vcoin("lane", "open", PROVIDER[:8], "20", "--yes")
    assert (ran.code, "lane: 0 VCN > 20 VCN" in ran.out, vcoin.backend.free_wei) == (Exit.OK, True, 980 * VCN)
    assert (await vcoin("lane", "list")).out.splitlines()[1].split() == [PROVIDER, "20", "0", "0", "open"]
    assert (await vcoin("lane", "close", PROVIDER[:8], "--yes")).code == Exit.OK
    assert "closing until 2026-01-02 03:04:05 UTC" in (await vcoin("lane", "list")).out
    assert "closing until" in (await vcoin("account", "show")).out
    assert (await vcoin("lane", "reclaim", PROVIDER[:8], "--yes")).code == Exit.OK
    assert (await vcoin("lane", "list")).out.splitlines()[1].split() == [PROVIDER, "0", "0", "0", "reclaimed"]
    assert vcoin.backend.free_wei == 1_000 * VCN


async def test_lanes_in_json_say_until_when_they_close(vcoin: Shell) -> None:
    await vcoin("lane", "open", PROVIDER, "20", "--yes")
    await vcoin("lane", "close", PROVIDER, "--yes")
    (lane,) = (await vcoin("lane", "list", "--json")).json
    assert (lane["node"], lane["left_wei"], lane["closing"], lane["closes_at_s"]) == (
        PROVIDER,
        str(20 * VCN),
        True,
        CLOSES_AT,
    )


async def test_models_are_listed_and_added(vcoin: Shell) -> None:
    listed = (await vcoin("model", "list")).out.splitlines()
    assert listed[0].split("  ")[0] == "MODEL"
    facts = [SMOL.name, "abababab", "whole", "bf16", "8192", "269", "MB", "1.2", "GB"]
    assert listed[1].split() == [*facts, "-", "-", "1,2"]
    assert SMOL.manifest in (await vcoin("model", "add", "--smollm2")).out


async def test_an_adapter_is_added_to_its_base(vcoin: Shell, tmp_path: Path) -> None:
    (tmp_path / "pirate").mkdir()
    added = (await vcoin("model", "add", str(tmp_path / "pirate"), "--base", "smol")).out
    assert f"{SMOL.name}+pirate" in added
    assert "1a" * 32 in added
    unknown = await vcoin(*ASK, "--adapter", "poet")
    assert unknown.err.splitlines() == [
        f"error: no adapter 'poet' of {SMOL.name} is known here",
        f"hint: one of: {SMOL.name}+pirate",
    ]
    refused = await vcoin("model", "add", "--smollm2", "--base", "smol")
    assert "--base needs the PATH of an adapter" in refused.err
    assert refused.code == Exit.USAGE


async def test_state_size_and_pin_of_a_model_are_shown(vcoin: Shell) -> None:
    vcoin.backend.models_held = [replace(SMOL, state="partial", held_bytes=5_000_000, pinned=True, in_use=True)]
    (row,) = (await vcoin("model", "list")).out.splitlines()[1:]
    assert "partial" in row
    assert "5 MB of 269 MB" in row
    assert "pinned, in use" in row
    shown = (await vcoin("model", "show", "smol")).out
    assert "cd" * 32 in shown
    assert "2104556" in shown
    assert (await vcoin("model", "show", "smol", "--json")).json["state"] == "partial"


async def test_model_is_pinned_unpinned_and_removed(vcoin: Shell) -> None:
    assert "pinned" in (await vcoin("model", "pin", "smol")).out
    assert vcoin.backend.models_held[0].pinned
    refused = await vcoin("model", "remove", "smol")
    assert (refused.code, len(refused.err.splitlines())) == (Exit.FAILED, 2)
    assert refused.err.startswith("error: ")
    assert not (await vcoin("model", "unpin", "smol", "--json")).json["pinned"]
    assert "removed" in (await vcoin("model", "remove", SMOL.manifest)).out
    assert vcoin.backend.models_held == []
    assert (await vcoin("model", "remove", "smol")).code == Exit.FAILED


async def test_pull_shows_progress_speed_and_time_left(vcoin: Shell) -> None:
    ran = await vcoin("model", "pull", "smol")
    assert (ran.code, ran.out) == (Exit.OK, "")
    first, last = ran.err.splitlines()
    assert first == f"{SMOL.name}: 134 MB of 269 MB, 50 %, 10 MB/s, 14 s left"
    assert last == f"{SMOL.name} is here: 269 MB, every byte checked"
    lines = [json.loads(line) for line in (await vcoin("model", "pull", "smol", "--json")).out.splitlines()]
    assert [line["is_done"] for line in lines] == [False, True]


async def test_pull_that_breaks_off_says_how_to_go_on(vcoin: Shell) -> None:
    vcoin.backend.pull_fault = Fault("unavailable", "no peer", "run it again: it goes on from where it stopped")
    ran = await vcoin("model", "pull", "smol")
    assert ran.code == Exit.RETRY_LATER
    assert ran.err.splitlines()[1:] == ["error: no peer", "hint: run it again: it goes on from where it stopped"]
    assert (await vcoin("model", "pull", "unheard")).code == Exit.FAILED


async def test_score_is_explained_term_by_term(vcoin: Shell) -> None:
    ran = await vcoin("node", "score", "me")
    assert ran.code == Exit.OK
    for term in ("success", "speed", "uptime", "stake", "penalty"):
        assert term in ran.out
    assert "45.00" in ran.out
    assert "20" in ran.out


def change(cause: str, block: int, **facts: object) -> views.ChangeView:
    """A change of a record in which nothing is but what is named."""
    nothing = views.ChangeView(block, "0x" + "7a" * 32, cause, "", (), "", 0, 0, 0, 0, 0, 0, 0, 0)
    return replace(nothing, **facts)  # type: ignore[arg-type]


async def test_score_names_the_case_behind_each_penalty_and_the_batches_behind_the_rest(vcoin: Shell) -> None:
    vcoin.backend.penalised = 3_500
    vcoin.backend.changes = (
        change("case", 90, batch_id="ca" * 32, verdict="severe", lost=1, penalty=3_000, lost_wei=VCN, score=1_500),
        *(change("check_in", 100 + day, day=20_000 + day) for day in range(12)),
        change("seat", 130, batch_id="5e" * 32, seat=2, penalty=500, score=1_000),
        change(
            "batch", 140, batch_id="ba" * 32, jobs=("0d" * 32,), counted=3, response_ms=2_700, penalty=-30, score=1_2
        ),
    )
    ran = await vcoin("node", "score", "me")
    lines = ran.out.splitlines()
    (penalty,) = [line for line in lines if line.startswith("penalty")]
    assert "35.00 for 2 events below" in penalty
    head = next(number for number, line in enumerate(lines) if line.startswith("BLOCK"))
    rows = [line.split() for line in lines[head + 1 : -1]]
    assert [row[0] for row in rows] == ["90", *(str(100 + day) for day in range(3, 12)), "130", "140"]
    assert rows[0][1:4] == ["case", "cacacaca:", "severe,"]
    assert rows[0][-3:] == ["+30.00", "15.00", "0x" + "7a" * 8]
    assert rows[1][1:4] == ["checked", "in,", "2024-10-07"]
    assert " ".join(rows[-2][1:8]) == "silent on seat 2 of case 5e5e5e5e"
    assert " ".join(rows[-1][1:6]) == "batch babababa final: job 0d0d0d0d"
    assert rows[-1][6:11] == ["3", "-", "2.7", "s", "-0.30"]
    assert lines[-1].startswith("3 more that cost nothing")
    assert len((await vcoin("node", "score", "me", "--json")).json["changes"]) == 15


async def test_case_shows_seats_verdict_and_money(vcoin: Shell) -> None:
    case_id = "ca" * 32
    seats = (
        views.SeatView(0, PROVIDER, "revealed", "0c" * 32, (9_990, 9_600)),
        views.SeatView(1, VERIFIER, "drawn", "", ()),
    )
    vcoin.backend.cases[case_id] = views.CaseView(
        id=case_id,
        node=PROVIDER,
        slot=3,
        class_id=2,
        state="closed",
        leaf_count=12,
        drawn=(4, 11),
        seats=seats,
        verdict="pass",
        median_bps=9_600,
        price_wei=VCN,
        burned_wei=VCN // 10,
        reward_wei=6_525 * VCN // 10_000,
        bonus_wei=9 * VCN // 100,
        pooled_wei=2_975 * VCN // 10_000,
        refunded_wei=0,
        slashed_wei=0,
        jobs=("0d" * 32,),
    )
    ran = await vcoin("case", "show", "caca")
    assert "2 of 12 leaves: 4, 11" in ran.out
    assert "pass, median 96 %" in ran.out
    seat = next(line for line in ran.out.splitlines() if line.split()[:2] == ["0", PROVIDER[:10]])
    assert seat.split() == ["0", PROVIDER[:10], "revealed", "0c0c0c0c", "96", "%", "99.9", "96"], "the lowest counts"
    assert "burned       0.1 VCN" in ran.out
    assert "slashed" not in ran.out
    assert (await vcoin("case", "show", "caca", "--json")).json["id"] == case_id


async def test_jobs_are_listed_and_shown_by_a_prefix(vcoin: Shell) -> None:
    running = await vcoin(*ASK, "--json", "--max-tokens", "8", "--max-price", "0.001")
    assert running.code == Exit.FAILED, "over the cap"
    job_id = await vcoin.backend.ask_job(ASKED)
    vcoin.backend.change(
        job_id,
        state="delivered",
        node=PROVIDER,
        text="Because\nof \x1b[31mRayleigh",
        price_wei=128 * VCN // 100,
        charge_wei=VCN,
        fee_wei=5 * VCN // 100,
        bonus_wei=9 * VCN // 100,
        cost_wei=114 * VCN // 100,
        tokens=100,
        steps=(views.StepView("delivered", 1_002_500, 0), views.StepView("in_batch", 0, 1_004_500)),
    )
    listed = (await vcoin("job", "list")).out
    assert listed.splitlines()[1].split()[:3] == [job_id[:8], "requester", "delivered"]
    assert (await vcoin("job", "list", "-q")).out == job_id + "\n"
    shown = (await vcoin("job", "show", job_id[:5])).out
    assert "1.14 VCN = 1 charge + 0.05 verify fee + 0.09 bonus" in shown
    assert "\x1b" not in shown
    assert [line.split() for line in shown.splitlines()[-2:]] == [
        ["delivered", "+2.5", "s"],
        ["in", "batch", "-", "2.0", "s"],
    ]


def test_settings_are_shown_with_their_origin(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[node]\nprice = "2.5"\n')
    monkeypatch.setenv("VCOIN_LOG_LEVEL", "debug")
    shown = shell.run("config", "show", "--origin", "--json").json
    assert shown["node.price"] == {"value": 25 * VCN // 10, "origin": str(tmp_path / "config.toml")}
    assert shown["log.level"]["origin"] == "environment VCOIN_LOG_LEVEL"
    assert shown["log.format"]["origin"] == "default"
    rows = {line.split()[0]: line.split()[1] for line in shell.run("config", "show").out.splitlines()}
    assert (rows["node.price"], rows["executor.memory"]) == ("2.5", "4096MiB")


def test_version_is_that_of_the_package(shell: Shell) -> None:
    assert shell.run("--version").out.strip().startswith("0.")


async def test_lanes_are_added_up(shell: Shell) -> None:
    lane = views.LaneView(PROVIDER, VCN, 2 * VCN, 3, closing=False)
    snapshot = await shell.backend.snapshot()
    account = replace(snapshot.account, lanes=(lane, lane))
    assert any("2 VCN in lanes" in line for line in overview(replace(snapshot, account=account)))
