"""Which job runs when: batches of jobs that share a container, and slots that all nodes of a machine share."""
