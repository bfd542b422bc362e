"""The vectors that every implementation must compute: tests/vectors, and their values in docs/wire.md."""
