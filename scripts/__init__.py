"""Commands of people and CI: set-up, checks, tests, benchmarks and the demo. Needs the standard library alone."""
