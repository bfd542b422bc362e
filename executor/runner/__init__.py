"""What runs inside the container: it imports nothing of the project, and only this folder knows torch."""
