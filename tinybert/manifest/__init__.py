"""The record of a run: manifest, trace, digests, and the identity of the code. No MindSpore."""
