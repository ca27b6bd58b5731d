"""Distillation: which teacher layer teaches which student layer, the losses, and the network."""
