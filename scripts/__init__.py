"""What people and CI run: set-up, checks, tests, benchmarks and the demo. Needs the standard library alone."""
