"""A whole network on one machine: a chain, the contracts, funded wallets, and nodes as processes of their own."""
