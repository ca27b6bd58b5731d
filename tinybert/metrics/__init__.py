"""Metrics of a whole dev set: arrays in, one number out."""
