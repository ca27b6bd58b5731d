"""Signed statements about runs, exports and audits: in-toto statements in DSSE envelopes."""
