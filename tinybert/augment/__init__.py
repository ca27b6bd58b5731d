"""Augmentation of a task's rows: words replaced by what a network or word vectors give for them.

Jiao et al., arXiv 1909.10351, section 3.2 and algorithm 1. Rows are a function of the raw rows, the
network or the vectors, and the options: not of batches, threads, or where a process was killed.
"""
