"""How identifiers, messages and trees look as bytes."""
