"""TOML recipes: reading, problems with their place, and the resolved values."""
