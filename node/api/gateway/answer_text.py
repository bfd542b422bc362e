"""The text of a streamed answer: a client has read what it was sent, so nothing of it can be taken back."""

from dataclasses import dataclass

from node.api.gateway.refusals import GatewayRefusal
from node.api.views import ANSWERED, JobUpdate


@dataclass(slots=True)
class AnswerText:
    """Turns updates of a job into text to send on.

    If another node begins the answer again, the part that was already sent is left out, provided that it is the same:
    with the seed of the job every honest node draws the same tokens.
    """

    sent: str = ""
    _current: str = ""
    _attempt: int = 0

    def new(self, update: JobUpdate) -> str:
        """The text that follows what was sent. Raises: GatewayRefusal 502 if the answer is another one now."""
        if update.job is None:
            self._begin(update.attempt)
            self._current += update.text
        else:
            self._begin(update.job.attempt)
            is_whole = update.job.state in ANSWERED
            if is_whole or len(update.job.text) > len(self._current):
                self._current = update.job.text
            if is_whole and not self._current.startswith(self.sent):
                raise _changed()
        if self.sent.startswith(self._current):
            return ""
        if not self._current.startswith(self.sent):
            raise _changed()
        new = self._current[len(self.sent) :]
        self.sent = self._current
        return new

    def _begin(self, attempt: int) -> None:
        if attempt != self._attempt:
            self._attempt, self._current = attempt, ""


def _changed() -> GatewayRefusal:
    words = "another node began the answer again, and it differs from what was sent: ask again"
    return GatewayRefusal(502, words, kind="server_error", code="answer_changed")
