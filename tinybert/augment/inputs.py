"""What candidates for words are found with: options, vocabulary, network, word vectors."""

from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice

from tinybert.augment.masked_rows import MaskedRowMaker
from tinybert.augment.network import load_network
from tinybert.augment.options import AugmentOptions
from tinybert.augment.parts import Arguments, TextIndex
from tinybert.augment.word_vectors import WordVectors, read_word_vectors
from tinybert.augment.words import WordReader, read_kept_words
from tinybert.data.sidecar import PreparedAugmentation
from tinybert.errors import InputError
from tinybert.export.source import Source
from tinybert.files import digest_file
from tinybert.kernels import loops
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.prepare.records import PrepareOptions, TaskTexts
from tinybert.prepare.vocabulary import Vocabulary, build_tokenizer, load_vocabulary

TABLE = "rows.jsonl"
"""The texts of all records, beside them."""
_EXAMPLES_AT_A_TIME = 1024


@dataclass(frozen=True)
class AugmentInputs:
    """What candidates are found with."""

    records: PrepareOptions
    options: AugmentOptions
    vocabulary: Vocabulary
    network: Source | None
    """Gives candidates for words of one piece; None: word vectors give them."""
    vectors: WordVectors | None
    reader: WordReader
    """Finds words, in the part of a text that fits in a row and that the network reads."""
    row_maker: MaskedRowMaker | None
    """Makes what the network's head reads; None: its word embeddings are compared instead."""

    @classmethod
    def read(cls, records: PrepareOptions, options: AugmentOptions) -> "AugmentInputs":
        """Read the files that the options name.

        Raises:
            InputError: A file is missing or damaged, or the network has another vocabulary.
            UsageError: The network has no head of masked language modelling, or reads texts
                otherwise.
        """
        vocabulary = load_vocabulary(records.vocab)
        network = load_network(options, records, vocabulary)
        vectors = read_word_vectors(options.word_vectors) if options.word_vectors else None
        tokenizer = build_tokenizer(vocabulary, records.tokenizer)
        room = records.seq_length
        row_maker = None
        if network is not None:
            most_tokens = network.network.config.max_position_embeddings
            room = min(room, most_tokens)
            if options.masked_lm is not None:
                original = options.context == "text_and_original"
                row_maker = MaskedRowMaker.of(
                    vocabulary, original=original, most_tokens=most_tokens
                )
        kept: frozenset[str] = frozenset()
        if options.keep_words is not None:
            kept = read_kept_words(options.keep_words, tokenizer)
        reader = WordReader(tokenizer, vocabulary, room - 2, kept)
        return cls(records, options, vocabulary, network, vectors, reader, row_maker)

    def index(self, texts: TaskTexts) -> TextIndex:
        """Return the distinct texts of all rows.

        Raises:
            InputError: A file cannot be read, or a text has no tokens.
        """
        index, maker = TextIndex(), self.row_maker
        examples = texts.examples()
        while block := list(islice(examples, _EXAMPLES_AT_A_TIME)):
            new: dict[str, str] = {}
            for example in block:
                for text in example.texts:
                    if isinstance(text, str) and text not in index:
                        new.setdefault(text, example.where)
            for (text, where), read in zip(new.items(), self.reader.read(list(new)), strict=True):
                if not read.input_ids and not texts.allow_empty:
                    raise InputError("a text is empty, or has no tokens", where=where)
                length = len(read.input_ids) if maker is None else maker.length(read)
                index.add(text, read, length)
        return index

    def facts(self) -> PreparedAugmentation:
        """Return what records.json has of the augmentation."""
        options = self.options
        files = options.word_vectors, options.keep_words
        vectors, kept = (None if path is None else digest_file(path).sha256 for path in files)
        arrays = None if self.network is None else self.network.network.arrays
        one_piece = "masked_lm" if options.masked_lm is not None else "embeddings"
        return PreparedAugmentation.model_validate(
            {
                "table": TABLE,
                "one_piece_words": "word_vectors" if arrays is None else one_piece,
                "other_words": None if vectors is None else "word_vectors",
                "network_sha256": None if arrays is None else tensor_digest(tensor_table(arrays)),
                "word_vectors_sha256": vectors,
                "kept_words_sha256": kept,
                "context": options.context if options.masked_lm is not None else None,
                "threshold": options.threshold,
                "candidates": options.candidates,
                "samples": options.samples,
                "seed": options.seed,
            }
        )

    def arguments(self, facts: PreparedAugmentation, index: TextIndex) -> Arguments:
        """Return what the candidates for the words of some texts depend on."""
        of_rows = {"table", "threshold", "samples", "seed"}
        return {
            "texts": index.sha256,
            "vocabulary": self.vocabulary.sha256,
            "tokenizer": str(self.records.tokenizer),
            "seq_length": self.records.seq_length,
            **facts.model_dump(mode="json", exclude=of_rows),
            "network": None if self.network is None else str(self.network.network.config),
            "loops": loops.VERSION,
            "mindspore": version("mindspore"),
            "tokenizers": version("tokenizers"),
        }
