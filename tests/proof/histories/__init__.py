"""Settlement and court a second time, from the specification alone, and random histories to compare them."""
