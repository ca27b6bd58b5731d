"""How BERT's tokenizer reads text before it looks pieces up: what must be equal for equal ids."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TokenizerOptions:
    """The options of a BERT tokenizer."""

    lowercase: bool
    """`do_lower_case`."""
    strip_accents: bool
    """Whether accents are removed; uncased models do."""
    tokenize_chinese_chars: bool = True
    """Whether every Chinese character is a word."""

    @classmethod
    def resolve(
        cls, lowercase: bool, strip_accents: bool | None, tokenize_chinese_chars: bool | None
    ) -> "TokenizerOptions":
        """Return the options, with the defaults of transformers for those that are None."""
        accents = lowercase if strip_accents is None else strip_accents
        return cls(lowercase, accents, tokenize_chinese_chars is not False)

    def __str__(self) -> str:
        """Return the options of `prepare`."""
        options = ["--lowercase" if self.lowercase else "--cased"]
        if self.strip_accents != self.lowercase:
            options.append("--strip-accents" if self.strip_accents else "--no-strip-accents")
        if not self.tokenize_chinese_chars:
            options.append("--no-tokenize-chinese-chars")
        return " ".join(options)
