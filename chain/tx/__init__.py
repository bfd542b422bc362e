"""Keys, signatures and transactions: nonces, fees, pending transactions, gas balances."""
