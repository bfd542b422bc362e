"""What runs inside the container. It stands alone: nothing here imports the project, and only this folder knows torch."""
