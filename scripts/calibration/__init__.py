"""The small model's calibration, which comes with a release."""
