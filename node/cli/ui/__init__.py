"""What the commands share: options, output, phrases, the daemon's socket, wallets."""
