"""The vocabulary and the tokenizer of a run's token ids, kept with its checkpoints."""

from collections.abc import Iterator
from pathlib import Path

from tinybert.atomic import write_bytes
from tinybert.data.sidecar import VOCABULARY, Sidecar
from tinybert.errors import InputError
from tinybert.manifest.document import TOKENIZER_FOLDER, Run
from tinybert.plan.plan import Plan
from tinybert.prepare.tokenizer_files import TOKENIZER_CONFIG, StatedTokenizer, read_tokenizer
from tinybert.prepare.vocabulary import find_vocabulary, load_vocabulary


def keep_tokenizer(plan: Plan, folder: Path) -> None:
    """Write what is known of vocabulary and tokenizer into a run's folder.

    Nothing is written of a tokenizer that this program does not have: to read texts for the
    network, a vocabulary and the case must then be named.

    Raises:
        InputError: A records.json is damaged.
    """
    prepared = [pair for records in plan.records.values() for pair in records.source.sidecars()]
    recorded = prepared[0][1] if prepared else None
    places = [directory for directory, _ in prepared]
    places += [path for path in plan.checkpoints.values() if path.is_dir()]
    places += [run.folder / TOKENIZER_FOLDER for run in plan.parents.values()]
    vocabulary = next(_vocabularies(places, recorded), None)
    if vocabulary is None:
        return
    try:
        kept = stated_by(recorded) if recorded is not None else read_tokenizer(vocabulary.parent)
    except InputError:
        return
    content = load_vocabulary(vocabulary).encode()
    (folder / TOKENIZER_FOLDER).mkdir(exist_ok=True)
    write_bytes(folder / TOKENIZER_FOLDER / VOCABULARY, content)
    if kept.lowercase is not None:
        length = plan.resolved.recipe.data.seq_length
        write_bytes(folder / TOKENIZER_FOLDER / TOKENIZER_CONFIG, kept.encode(length))


def kept_vocabulary(run: Run, prepared: list[tuple[Path, Sidecar]]) -> Path | None:
    """Return the vocabulary of a run, if it is kept: with the run, or with the records it read."""
    recorded = prepared[0][1] if prepared else None
    places = [run.folder / TOKENIZER_FOLDER, *(directory for directory, _ in prepared)]
    return next(_vocabularies(places, recorded), None)


def stated_by(sidecar: Sidecar) -> StatedTokenizer:
    """Return the tokenizer that records were made with."""
    recorded = sidecar.vocabulary
    return StatedTokenizer(
        recorded.lowercase, recorded.strip_accents, recorded.tokenize_chinese_chars
    )


def _vocabularies(places: list[Path], recorded: Sidecar | None) -> Iterator[Path]:
    """Yield each vocabulary in these directories that is the one of the records, if there are any.

    Others, and damaged ones, are skipped.
    """
    for place in places:
        try:
            path = find_vocabulary(place)
            sha256 = None if path is None else load_vocabulary(path).sha256
        except InputError:
            continue
        if path is not None and (recorded is None or sha256 == recorded.vocabulary.sha256):
            yield path
