"""The settler: takes finished jobs to the chain in batches, and each batch through its draw and court to its money."""
