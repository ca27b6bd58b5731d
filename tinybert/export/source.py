"""Find the network that a command names: by a run's manifest, by a recipe, or as a checkpoint."""

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from tinybert.data.sidecar import Sidecar
from tinybert.errors import InputError, UsageError
from tinybert.export.network import TrainedNetwork, assemble
from tinybert.manifest.document import TOKENIZER_FOLDER
from tinybert.model.checkpoint_files import StoredArrays, read_arrays
from tinybert.model.description import (
    DESCRIPTION,
    AnswerKeys,
    DescribedNetwork,
    TextKeys,
    describe_network,
    recorded_labels,
)
from tinybert.model.weights import parameter_names
from tinybert.plan.parent_runs import LinkedRun, find_parent_run
from tinybert.plan.run_names import find_manifest
from tinybert.plan.tokenizer import kept_vocabulary, stated_by
from tinybert.prepare.tokenizer_files import StatedTokenizer, read_tokenizer
from tinybert.prepare.vocabulary import find_vocabulary, load_vocabulary, require_room
from tinybert.recipe.load import load
from tinybert.recipe.model import STAGES, AnyRecipe, GeneralDistill, TaskDistill
from tinybert.recipe.network import ROLES, Role, head, network
from tinybert.recipe.source import overridden, parse
from tinybert.recipe.tables import ManifestLink, RecipeLink


@dataclass(frozen=True)
class SourceRequest:
    """The arguments of the command line that name a network."""

    source: Path
    """A manifest, a recipe, a checkpoint, or a directory with model.safetensors."""
    root: Path
    """Directory with `manifests/`, for a recipe as source."""
    recipe: Path | None
    """The recipe that describes a checkpoint without config.json."""
    role: Role | None
    """The network of the recipe."""
    vocab: Path | None
    """The vocab.txt, or tokenizer.json, that belongs to the network."""
    lowercase: bool | None
    """Whether texts are lower-cased, as the user states it; None: not stated."""


@dataclass(frozen=True)
class Source:
    """A network and where it comes from."""

    network: TrainedNetwork
    file: Path
    """The checkpoint."""
    run: LinkedRun | None
    """The run that left it."""
    vocab: Path | None
    """The vocabulary: the one that was named, or the one that is kept with the checkpoint."""
    texts: TextKeys
    """How texts became rows of its training."""
    sidecar: Sidecar | None = None
    """The records.json that the run read."""
    lowercase: bool | None = None
    """Whether texts are lower-cased, as the user states it; None: not stated."""

    def tokenizer(self) -> StatedTokenizer:
        """Return the options of its training's tokenizer, as far as files or the user state them.

        Raises:
            InputError: The files beside the checkpoint are of another tokenizer.
            UsageError: The user states another option than the files.
        """
        if self.sidecar is not None:
            stated = stated_by(self.sidecar)
        else:
            kept = self.file.parent if self.run is None else self.run.folder / TOKENIZER_FOLDER
            stated = read_tokenizer(kept)
        option = "--lowercase" if self.lowercase else "--cased"
        return replace(stated, lowercase=agreed(option, stated.lowercase, self.lowercase))

    def require_tokenizer(self) -> tuple[Path, StatedTokenizer]:
        """Return the vocabulary and the tokenizer's options, of which the case is stated.

        Raises:
            InputError: As `tokenizer`.
            UsageError: As `tokenizer`, or the vocabulary or the case is not known.
        """
        tokenizer = self.tokenizer()
        if self.vocab is None:
            raise UsageError("the vocabulary is not known", cure="name it: --vocab VOCAB_TXT")
        if tokenizer.lowercase is None:
            raise UsageError(
                "it is not known whether texts are lower-cased for this network",
                cure="say so: --lowercase, or --cased",
            )
        return self.vocab, tokenizer


def agreed(option: str, by_source: bool | None, by_user: bool | None) -> bool | None:
    """Return a setting of the training, which the user must not contradict.

    Raises:
        UsageError: The user did, by `option`.
    """
    if by_source is None or by_user is None or by_source == by_user:
        return by_user if by_source is None else by_source
    raise UsageError(f"{option} is not how the network's training read texts")


def find_network(request: SourceRequest, *, pooler: bool = True) -> Source:
    """Return the network that the command line means, checked.

    Args:
        request: The arguments of the command line.
        pooler: Whether an encoder's file must have a pooler; a BertForMaskedLM's has none.

    Raises:
        InputError: A file is missing or damaged, or the network is not as described.
        UsageError: Something must be named that is not.
    """
    path = request.source
    if path.suffix != ".toml":
        path = find_manifest(str(path), request.root)
        request = replace(request, source=path)
    linked = path.suffix in (".json", ".toml")
    if linked and request.recipe is not None:
        raise UsageError("--recipe describes a checkpoint; a run has its own recipe")
    return _from_run(request, pooler) if linked else _from_checkpoint(request, pooler)


def _from_run(request: SourceRequest, pooler: bool) -> Source:
    path = str(request.source.absolute())
    manifest = request.source.suffix == ".json"
    link = ManifestLink(manifest=path) if manifest else RecipeLink(recipe=path)
    run = find_parent_run(link, request.root)
    recipe = recorded_recipe(run)
    stored = read_arrays(run.checkpoint)
    run.check_tensors(stored.arrays)
    held = [role for role in ROLES if any(name.startswith(f"{role}.") for name in stored.arrays)]
    if request.role is None and len(held) != 1:
        raise UsageError(
            f"the run's checkpoint holds {len(held)} networks",
            where=str(stored.path),
            cure="choose: --network teacher, or --network student",
        )
    role = request.role or held[0]
    described = _described_by_recipe(recipe, role, str(run.path))
    if role not in held:
        raise UsageError(f"the run left no {role}", where=str(stored.path))
    return _source(request, described, stored, run, pooler)


def recorded_recipe(run: LinkedRun) -> AnyRecipe:
    """Return the recipe that a run had, as its manifest has recorded it.

    Raises:
        InputError: This version of the program has other recipes.
    """
    facts = run.manifest.inputs.recipe
    document, _ = overridden(parse(facts.path, facts.text.encode()), *facts.arguments())
    try:
        return STAGES[run.manifest.inputs.stage].model_validate(document.values)
    except (KeyError, ValidationError) as error:
        raise InputError(
            "the recorded recipe is not one of this version of the program",
            where=str(run.path),
            cure="use the program's version that wrote it: its commit is in inputs.code",
        ) from error


def _from_checkpoint(request: SourceRequest, pooler: bool) -> Source:
    stored = read_arrays(request.source)
    if request.recipe is not None:
        recipe = load(request.recipe).recipe
        roles = [role for role in ROLES if getattr(recipe, role) is not None]
        if request.role is None and len(roles) > 1:
            raise UsageError(
                "the recipe describes two networks",
                where=str(request.recipe),
                cure="choose: --network teacher, or --network student",
            )
        role = request.role or roles[0]
        described = _described_by_recipe(recipe, role, str(request.recipe))
    elif (stored.path.parent / DESCRIPTION).is_file():
        names = parameter_names(stored.arrays, where=str(stored.path))
        arrays = {meaning: stored.arrays[name] for meaning, name in names.items()}
        described = describe_network(stored.path.parent / DESCRIPTION, arrays)
    else:
        raise UsageError(
            "nothing describes the network of this checkpoint",
            where=str(stored.path),
            cure="name a recipe that does: --recipe RECIPE --network student; "
            "or name the run's manifest instead of its checkpoint",
        )
    return _source(request, described, stored, None, pooler)


def _source(
    request: SourceRequest,
    described: DescribedNetwork,
    stored: StoredArrays,
    run: LinkedRun | None,
    pooler: bool,
) -> Source:
    config, head_config, texts = described
    where, labels = str(stored.path), None
    prepared = run.sidecars() if run is not None else []
    sidecar = prepared[0][1] if prepared else None
    task = None if sidecar is None else sidecar.task
    if task is not None:
        characters, pairs = task.name == "cluener", "text_pair" in task.columns
        texts = texts.model_copy(update={"characters": characters, "pairs": pairs})
    if sidecar is not None and sidecar.windows is not None and texts.answers is not None:
        answers = texts.answers.model_copy(update=sidecar.windows.model_dump())
        texts = texts.model_copy(update={"answers": answers})
    if head_config is not None:
        labels = recorded_labels(stored.path) or (task.labels if task is not None else None)
        if labels is not None and len(labels) != head_config.num_labels:
            message = f"the file has {len(labels)} labels, the head {head_config.num_labels}"
            raise InputError(message, where=where)
    trained = assemble(
        stored.arrays, config, head_config, labels=labels, where=where, pooler=pooler
    )
    vocab = request.vocab
    if vocab is None:
        beside = stored.path.parent
        vocab = find_vocabulary(beside) if run is None else kept_vocabulary(run, prepared)
    _check_vocabulary(vocab, config.vocab_size, sidecar)
    return Source(trained, stored.path, run, vocab, texts, sidecar, request.lowercase)


def _described_by_recipe(recipe: AnyRecipe, role: Role, where: str) -> DescribedNetwork:
    """Return a network of a recipe; one that has learned no task has no head."""
    if getattr(recipe, role) is None:
        raise UsageError(f"the recipe describes no {role}", where=where)
    headless = isinstance(recipe, GeneralDistill) or (
        isinstance(recipe, TaskDistill) and recipe.phase2 is None and role == "student"
    )
    texts = TextKeys(seq_length=recipe.data.seq_length)
    if not isinstance(recipe, GeneralDistill) and recipe.task.max_answer_length is not None:
        answers = AnswerKeys(
            max_answer_length=recipe.task.max_answer_length,
            no_answer_threshold=recipe.task.no_answer_threshold,
        )
        texts = texts.model_copy(update={"answers": answers})
    return DescribedNetwork(network(recipe, role), None if headless else head(recipe, role), texts)


def _check_vocabulary(path: Path | None, vocab_size: int, sidecar: Sidecar | None) -> None:
    """Refuse a vocabulary that is not the one of the network's records."""
    if path is None:
        return
    vocabulary = load_vocabulary(path)
    require_room(vocabulary, path, vocab_size)
    if sidecar is not None and sidecar.vocabulary.sha256 != vocabulary.sha256:
        raise InputError(
            "the vocabulary is not the one that the run's records were made with",
            where=str(path),
            cure=f"name the file with SHA-256 {sidecar.vocabulary.sha256}",
        )
