"""The common parts of several layers of tests: scenes, services and doubles of people."""
