"""Performs the node's chain effects as transactions."""
