"""The proof of a job: its papers and what the chain says of them in one file, and the check of it without a network."""
