"""The logits of hidden states: nearly, of all tokens, and exactly, of the few that may be chosen.

The matrix behind them is the largest of a small model. Multiplied in the model's own format it gives logits that are
off by what that format rounds; in float32 it would take three times as long. So all tokens are looked at roughly, and
those that matter once more, in float64. In float32 the rough logits are the exact ones.
"""

from functools import partial
from typing import Any

import numpy as np
import torch

from .fingerprint import Doubles, Integers
from .logits import Logits, as_they_are
from .product import product

BLOCK = 1 << 10
ROOM = 1 << 23
"""Logits that are held at once, of six bytes each. In smaller pieces the product is half as fast."""


OTHERS = ("logit_scale", "logits_scaling", "lm_head_multiplier")
"""What some models do to their logits, by its name in config.json. 1 leaves them alone."""


def require_known(config: Any) -> None:
    """Raises ValueError if the model makes its logits in a way that is not known here."""
    for name in OTHERS:
        if getattr(config, name, None) not in (None, 1):
            raise ValueError(f"its logits are changed by {name}, which cannot be repeated here")


class Head:
    """The last matrix of a model, and the bend that keeps some models' logits below a cap."""

    def __init__(self, net: Any) -> None:
        self._cap: float | None = getattr(net.config, "final_logit_softcapping", None)
        module = net.get_output_embeddings()
        self._weight = module.weight.detach()
        self._bias = None if module.bias is None else module.bias.detach()
        self._unit = 0.0 if self._is_exact else float(torch.finfo(self._weight.dtype).eps)
        # Of n numbers that are rounded by chance the error grows with the root of n: this is seven standard deviations.
        self._spread = self._unit and 2 * self._unit * self._longest() / self._weight.shape[1] ** 0.5

    @property
    def _is_exact(self) -> bool:
        return bool(self._weight.dtype == torch.float32)

    def _longest(self) -> float:
        """The norm of the row that has the largest."""
        return max(float(rows.float().norm(dim=1).max()) for rows in self._weight.split(BLOCK))

    @property
    def at_once(self) -> int:
        """Of how many places the logits fit beside a model."""
        return max(1, ROOM // int(self._weight.shape[0]))

    def logits(self, states: torch.Tensor) -> list[Logits]:
        """Those of each state [n, hidden]."""
        with torch.inference_mode():
            states = states.float()
            rough = self._bent(product(states.to(self._weight.dtype), self._weight, self._bias).float()).cpu().numpy()
            if self._is_exact:
                return [as_they_are(row) for row in rough]
            # What goes into the product is rounded, and what comes out of it.
            offs = (self._spread * states.norm(dim=1)).cpu().numpy() + self._unit / 2 * np.abs(rough.max(axis=1))
        return [
            Logits(row, off, partial(self._of_one, state))
            for row, off, state in zip(rough, offs.tolist(), states, strict=True)
        ]

    def _of_one(self, state: torch.Tensor, tokens: Integers) -> Doubles:
        return self.exactly(state[None], tokens)[0]

    def exactly(self, states: torch.Tensor, tokens: Integers) -> Doubles:
        """The logits of some tokens, of each state [n, hidden]: float64 [n, tokens]."""
        with torch.inference_mode():
            rows = states.to(self._weight.device).double()
            # In blocks, because of a model that likes all tokens the same every one may matter.
            parts = [self._of(rows, chosen) for chosen in torch.as_tensor(tokens, device=rows.device).split(BLOCK)]
            return self._bent(torch.cat(parts, dim=1)).cpu().numpy()

    def _bent(self, logits: torch.Tensor) -> torch.Tensor:
        # Nowhere steeper than before, so rough ones stay as near.
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    def _of(self, rows: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        found = rows @ self._weight[chosen].double().T
        return found if self._bias is None else found + self._bias[chosen]
