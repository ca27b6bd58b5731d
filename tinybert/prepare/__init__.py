"""Raw text, tables and tags -> records; vocabularies. No MindSpore, but for MindRecord files."""
