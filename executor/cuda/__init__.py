"""The image for graphics cards: what it is made of, what it asks of a machine, and its build."""
