"""One container: the request that makes it, its life through the Docker Engine, what it prints and how it ended."""
