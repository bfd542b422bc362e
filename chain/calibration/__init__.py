"""Calibration files: noise constants of one model a file, packaged with the release."""
