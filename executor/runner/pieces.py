"""How many tokens are read between two steps of those who write: as many as their wait allows, whatever a token takes.

A token that is read takes as long as the model, the machine and the length of the text make it, from a tenth of a
millisecond to a hundredth of a second. So what it takes is measured, pass by pass.
"""

from dataclasses import dataclass

WAIT_S = 0.08
"""How much longer than a step of theirs a pass may take."""
LEAST, MOST = 16, 256
"""So few tokens cost hardly more than none; so many are the most of one pass."""
START = 64
DOWN, UP = 0.5, 0.1
"""Which part of the way the size goes with each pass: down fast, because somebody waits, and up slowly, because one
quick pass says little."""


@dataclass(slots=True)
class PieceSize:
    """How many `tokens` the next pass may read. `step_s` is what the last pass took that read none."""

    tokens: int = START
    step_s: float = 0.0

    def passed(self, read: int, pass_s: float) -> None:
        """A pass that read so many tokens took so long."""
        if read < 1:
            self.step_s = pass_s
            return
        token_s = (pass_s - self.step_s) / read
        wanted = MOST if token_s * MOST <= WAIT_S else max(LEAST, round(WAIT_S / token_s))
        self.tokens += round((wanted - self.tokens) * (DOWN if wanted < self.tokens else UP))
