"""The daemon's door: HTTP on a Unix socket. The command line asks, the daemon answers; both sides share these views."""
