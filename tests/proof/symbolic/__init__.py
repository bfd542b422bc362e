"""Statements about the libraries that a solver proves for all inputs: the `prove_` functions of the contracts here."""
