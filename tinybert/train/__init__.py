"""Training: feed, masks, optimizer, loss scale, step, loop, checkpoints, evaluation."""
