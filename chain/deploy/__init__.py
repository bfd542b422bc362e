"""Deploys a network's contracts, after a survey of the chain."""
