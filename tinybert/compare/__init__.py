"""The verdict on runs: what differs, why, and whether files and `[expect]` hold. No MindSpore."""
