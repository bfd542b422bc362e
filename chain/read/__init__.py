"""Reads what happened: the watcher of new blocks, and the history of batches, cases and nodes."""
