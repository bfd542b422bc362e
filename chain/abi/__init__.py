"""The contracts' interfaces as bytes: ABI files, calls, logs, refusals and enumerations."""
