"""The stages of a job, one file each: its messages, and its rules as pure functions."""
