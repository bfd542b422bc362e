"""Scenes: the parties and the state that several tests start from."""
