"""Hugging Face's tokenizer files beside a checkpoint: how texts became its tokens.

Whatever would tokenize otherwise than BERT's WordPiece tokenizer with the options of
`StatedTokenizer` is refused by name.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.data.sidecar import VOCABULARY, TokenizerOptions
from tinybert.errors import InputError, bulleted
from tinybert.prepare.tokenizer_json import MODEL, TOKENIZER, member, read_tokenizer_file
from tinybert.prepare.vocabulary import SPECIALS, load_vocabulary

TOKENIZER_CONFIG = "tokenizer_config.json"
_ADDED = "added_tokens.json"
_CLASSES = {"BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast"}
_FIXED: dict[str, tuple[Any, ...]] = {
    "do_basic_tokenize": (True,),
    "never_split": (None, []),
    "wordpieces_prefix": ("##",),
    "truncation_side": ("right",),
    "truncation_strategy": ("longest_first",),
    "additional_special_tokens": (None, []),
    "extra_special_tokens": (None, [], {}),
    "add_prefix_space": (None, False),
    "split_special_tokens": (False, True),
    "do_lower_case": (None, False, True),
    "strip_accents": (None, False, True),
    "tokenize_chinese_chars": (None, False, True),
}
"""Values of the options that change tokens, as far as this program has them."""
_WITHOUT_EFFECT = {
    "auto_map", "backend", "clean_up_tokenization_spaces", "full_tokenizer_file", "is_local",
    "max_len", "max_length", "model_input_names", "model_max_length", "name_or_path",
    "pad_to_multiple_of", "pad_token_type_id", "padding", "padding_side", "processor_class",
    "special_tokens_map_file", "stride", "tokenizer_file", "truncation", "vocab_file",
    "clean_text", "model_type", "return_token_type_ids",
    # arguments of from_pretrained, which transformers 5 saves
    "code_revision", "config", "from_slow", "local_files_only", "mirror", "resume_download",
    "return_tensors", "tokenizer_type", "torch_dtype", "use_auth_token", "use_fast", "user_agent",
    "verbose",
}  # fmt: skip


@dataclass(frozen=True)
class StatedTokenizer:
    """What tokenizer files say; None where they do not."""

    lowercase: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None
    model_max_length: int | None = None
    """Most tokens of a row."""

    @property
    def options(self) -> TokenizerOptions | None:
        """The options, if the case is stated."""
        if self.lowercase is None:
            return None
        return TokenizerOptions.resolve(
            self.lowercase, self.strip_accents, self.tokenize_chinese_chars
        )

    def encode(self, seq_length: int) -> bytes:
        """Return the content of a tokenizer_config.json for rows of at most `seq_length`."""
        content: dict[str, Any] = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.tokenize_chinese_chars is not False,
            "model_max_length": seq_length,
        }
        return (json.dumps(content, indent=2) + "\n").encode()


def read_tokenizer(directory: Path) -> StatedTokenizer:
    """Read the tokenizer files of a directory, as far as they are there.

    Raises:
        InputError: One is damaged, or has an option or a token that this program has not.
    """
    config = read_tokenizer_file(directory / TOKENIZER_CONFIG)
    by_file = {
        TOKENIZER_CONFIG: list(_config_problems(config)),
        _ADDED: [
            f"token `{token}`"
            for token in read_tokenizer_file(directory / _ADDED)
            if token not in SPECIALS
        ],
        TOKENIZER: list(
            _fast_problems(read_tokenizer_file(directory / TOKENIZER), directory / VOCABULARY)
        ),
    }
    for name, problems in by_file.items():
        if problems:
            raise InputError(
                "the tokenizer is not one that this program has:" + bulleted(problems),
                where=str(directory / name),
                cure="take away what has no effect on the tokens; the rest cannot be honoured",
            )
    length = config.get("model_max_length")
    return StatedTokenizer(
        lowercase=config.get("do_lower_case"),
        strip_accents=config.get("strip_accents"),
        tokenize_chinese_chars=config.get("tokenize_chinese_chars"),
        model_max_length=length if isinstance(length, int) and 0 < length < 1 << 31 else None,
    )


def _config_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield options of a tokenizer_config.json that this program does not have."""
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIALS, strict=True))
    specials = {f"{name}_token": token for name, token in names.items()}
    for key, value in config.items():
        if key in specials:
            known = _text(value) == specials[key]
        elif key == "tokenizer_class":
            known = value is None or value in _CLASSES
        elif key == "added_tokens_decoder":
            known = isinstance(value, dict) and all(_text(x) in SPECIALS for x in value.values())
        else:
            known = key in _WITHOUT_EFFECT or value in _FIXED.get(key, ())
        if not known:
            yield f"{key} is {value!r}"


def _fast_problems(content: Mapping[str, Any], vocabulary: Path) -> Iterator[str]:
    """Yield parts of a tokenizer.json that this program does not have.

    The options of its normalizer are not read: transformers puts those of
    tokenizer_config.json in their place.
    """
    if not content:
        return
    added = content.get("added_tokens")
    for token in map(_text, added if isinstance(added, list) else ()):
        if token not in SPECIALS:
            yield f"token `{token}`"
    for part, kind in (
        ("model", MODEL),
        ("normalizer", "BertNormalizer"),
        ("pre_tokenizer", "BertPreTokenizer"),
    ):
        if member(content.get(part), "type") != kind:
            yield f"{part} is not {kind}"
    ids = member(content.get("model"), "vocab")
    if vocabulary.is_file() and ids != load_vocabulary(vocabulary).ids:
        yield f"its vocabulary is not that of {VOCABULARY}"


def _text(token: Any) -> Any:
    """Return the text of a token, which may be a table of its properties."""
    return member(token, "content") if isinstance(token, dict) else token
