"""Proof that the contracts do what the specification says, beyond their tests: `scripts/prove` runs all of it."""
