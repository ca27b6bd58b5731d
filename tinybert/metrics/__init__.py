"""Metrics of a whole dev set, and what else its predictions show: arrays in, numbers out."""
