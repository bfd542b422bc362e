"""Dishonest parties among whole nodes, each with its end; hostile images and peers."""
