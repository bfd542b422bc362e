"""Tests of set-up and of the commands that people and CI share."""
