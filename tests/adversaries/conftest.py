"""Assertions of the rows say what they compared, as those of tests do."""

import pytest

pytest.register_assert_rewrite(
    *(f"tests.adversaries.{name}" for name in ("clients", "providers", "seats", "strangers"))
)
