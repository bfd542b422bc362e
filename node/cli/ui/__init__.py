"""The common parts of the commands: options, output, phrases, the daemon's socket, wallets."""
