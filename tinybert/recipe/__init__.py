"""TOML recipes: reading, problems with their place, and resolved values. No MindSpore."""
