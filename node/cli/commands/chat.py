"""`vcoin chat`: a small talk in the terminal; each answer is a job whose question is the whole talk."""

from collections.abc import Iterator
from typing import Any

from node.api.client import Client
from node.api.faults import Exit, Fault
from node.cli.ui import output
from node.cli.ui.answer import Follower
from node.cli.ui.call import TERMS, Terms, body_of
from node.cli.ui.choices import CHOICES, Choices
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, AskedModel, Common
from node.cli.ui.phrases import exact_coins

PROMPT = "> "
AGAIN = "/new"
MAX_MESSAGES = 1_024
"""A job takes no more."""


def chat(
    *,
    asked: AskedModel,
    system: str = "",
    max_tokens: int = 256,
    choices: Choices = CHOICES,
    terms: Terms = TERMS,
    common: Common = COMMON,
) -> int:
    """Talk with a model: a line is a question, /new forgets the talk, Ctrl-C ends an answer, Ctrl-D the talk.

    Each answer is a job, whose cost is shown. The model reads the whole talk anew for each; the price is for new tokens
    only. Questions may also come from a file: then the first one that fails ends the talk.

    Exit code: 0 ended, else as `vcoin job run`.

    Parameters
    ----------
    system
        Words to the model before the first question.
    max_tokens
        Length of an answer at most; the price is for so many.
    """
    content = {"model": asked.name, "max_new_tokens": max_tokens, **choices.fields}
    door, before = client(common.data_dir), [_message("system", system)] if system else []
    talk, spent_wei = [*before], 0
    for question in _questions():
        if question == AGAIN:
            talk = [*before]
            continue
        told = [*talk, _message("user", question)]
        try:
            code, answer, cost_wei = _answer(door, {**content, "messages": told}, terms, common)
        except Fault as fault:
            if not output.is_interactive():
                raise
            output.error(fault.message, _way_out(fault))
            continue
        spent_wei += cost_wei
        if not common.json:
            output.words(f"the talk has cost {exact_coins(spent_wei)}")
        if code != Exit.OK and not output.is_interactive():
            return code
        if code == Exit.INTERRUPTED:
            return code
        if code == Exit.OK and answer:
            talk = [*told, _message("assistant", answer)]
        if len(talk) + 2 > MAX_MESSAGES:
            output.words(f"the talk is full: it begins anew, as by {AGAIN}")
            talk = [*before]
    return Exit.OK


def _questions() -> Iterator[str]:
    while (line := output.next_line(PROMPT)) is not None:
        if line:
            yield line


def _answer(door: Client, content: dict[str, Any], terms: Terms, common: Common) -> tuple[int, str, int]:
    """The exit code, text and cost in wei of one answer, which is shown as it comes. Raises: Fault."""
    job_id = door.post("jobs", body=body_of(content, terms))["id"]
    # From a file Ctrl-C ends all that comes after, too.
    stops = output.is_interactive()
    follower = Follower(door, job_id, to_the_end=terms.follow, as_json=common.json, with_states=False, stops=stops)
    code = follower.run()
    return code, follower.job.text, follower.job.cost_wei


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _way_out(fault: Fault) -> str:
    return f"{AGAIN} forgets the talk" if fault.code == "prompt_too_long" else fault.hint
