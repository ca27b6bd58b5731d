"""Loops over arrays, compiled for this CPU, where neither MindSpore nor NumPy is fast.

They are arithmetic of float32 or uint32 in one fixed order, without fused multiply-adds and without
a library's functions, so that bits depend on no processor and on no number of threads.
"""
