"""Training: schedule, optimizer, loss scale, step, loop, checkpoints."""
