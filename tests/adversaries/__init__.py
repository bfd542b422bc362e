"""Dishonest nodes, hostile images and peers."""
