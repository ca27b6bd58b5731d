"""Carrying out a plan in this process: execute, resume, progress, logs, heartbeats."""
