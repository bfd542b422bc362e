"""Small faults put into the contracts one at a time, to see that their tests notice."""
