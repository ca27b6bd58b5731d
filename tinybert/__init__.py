"""Distil BERT from one TOML recipe per run, with a manifest that proves what ran."""
