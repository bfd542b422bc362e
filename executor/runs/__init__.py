"""One run of the runner image: a job by itself, several jobs in one container, or a check of a result."""
