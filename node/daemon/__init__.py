"""The daemon: opens a node's parts, runs them side by side, and closes them in order when it is told to stop."""

from node.daemon.process import main as main
