"""The network that gives candidates, checked: its head, its vocabulary, its tokenizer."""

from tinybert.augment.options import AugmentOptions
from tinybert.data.sidecar import TokenizerOptions
from tinybert.errors import InputError, UsageError
from tinybert.export.source import Source, SourceRequest, find_network
from tinybert.model.names import MASKED_LM
from tinybert.prepare.records import PrepareOptions
from tinybert.prepare.vocabulary import MASK, Vocabulary, load_vocabulary, require_room


def load_network(
    options: AugmentOptions, records: PrepareOptions, vocabulary: Vocabulary
) -> Source | None:
    """Return the network that gives candidates, if one does; it reads texts as the records have it.

    Raises:
        InputError: The network is missing or damaged, or has another vocabulary.
        UsageError: It has no head of masked language modelling, or reads texts otherwise.
    """
    if options.network is None:
        return None
    request = SourceRequest(
        source=options.network,
        root=options.root,
        recipe=options.recipe,
        role=options.role,
        vocab=None,
        lowercase=None,
    )
    source = find_network(request, pooler=False)
    _check_vocabulary(source, records, vocabulary)
    _check_tokenizer(source, records.tokenizer)
    if options.masked_lm is not None:
        _check_head(source, options, records, vocabulary)
    return source


def _check_vocabulary(source: Source, records: PrepareOptions, vocabulary: Vocabulary) -> None:
    vocab_size = source.network.config.vocab_size
    require_room(vocabulary, records.vocab, vocab_size, "name the network's vocabulary: --vocab")
    if source.vocab is not None and load_vocabulary(source.vocab).sha256 != vocabulary.sha256:
        raise InputError(
            "the vocabulary is not the network's",
            where=str(records.vocab),
            cure=f"name the one that is kept with the network: --vocab {source.vocab}",
        )


def _check_tokenizer(source: Source, options: TokenizerOptions) -> None:
    stated = source.tokenizer().options
    if stated is not None and stated != options:
        raise UsageError(
            f"the network reads texts with {stated}, not with {options}",
            where=str(source.file),
            cure=f"prepare the records in the same way: {stated}",
        )


def _check_head(
    source: Source, options: AugmentOptions, records: PrepareOptions, vocabulary: Vocabulary
) -> None:
    where = str(source.file)
    if f"{MASKED_LM}.bias" not in source.network.arrays:
        raise UsageError(
            "the network has no head of masked language modelling",
            where=where,
            cure="name one that was saved with it, such as a BertForMaskedLM; or take the nearest "
            "of its word embeddings: --embeddings SOURCE",
        )
    if MASK not in vocabulary.ids:
        raise InputError(f"the vocabulary lacks {MASK}", where=str(records.vocab))
    if options.context == "text_and_original" and source.network.config.type_vocab_size < 2:
        raise UsageError("the network has no second segment", where=where, cure="--context text")
