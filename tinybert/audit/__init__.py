"""Audits: which steps of a finished run are replayed, how they compare, and what that shows."""
