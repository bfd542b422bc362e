"""The parts of a score: similarity, margins, fraud rules, kinds of work."""
