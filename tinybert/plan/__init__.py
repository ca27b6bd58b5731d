"""What a run will do, the runs it builds on, and every problem with its files."""
