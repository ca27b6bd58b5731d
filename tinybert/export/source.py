"""Find the network that a command names: by a run's manifest, by a recipe, or as a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import ValidationError

from tinybert.data.sidecar import Sidecar
from tinybert.errors import InputError, UsageError
from tinybert.export import config as description
from tinybert.export.network import Array, TrainedNetwork, assemble
from tinybert.model.families import canonical_names
from tinybert.model.label_names import recorded_labels
from tinybert.model.weights import read_arrays
from tinybert.plan.parent_runs import LinkedRun, find_parent_run
from tinybert.prepare.vocabulary import load_vocabulary
from tinybert.recipe.base import ManifestLink, RecipeLink
from tinybert.recipe.load import load
from tinybert.recipe.model import STAGES, AnyRecipe, GeneralDistill, TaskDistill
from tinybert.recipe.network import HeadConfig, NetworkConfig, head, network
from tinybert.recipe.overrides import overridden
from tinybert.recipe.source import parse

Which = Literal["teacher", "student"]
BOTH: tuple[Which, Which] = ("teacher", "student")
Described: TypeAlias = tuple[NetworkConfig, HeadConfig | None]


@dataclass(frozen=True)
class Request:
    """What the command line says about the network."""

    source: Path
    """A manifest, a recipe, a checkpoint, or a directory with model.safetensors."""
    root: Path
    """Directory with `manifests/`, for a recipe as source."""
    recipe: Path | None
    """The recipe that describes a checkpoint without config.json."""
    which: Which | None
    """The network of the recipe."""
    vocab: Path | None
    """The vocab.txt that belongs to the network."""


@dataclass(frozen=True)
class Source:
    """A network and where it comes from."""

    network: TrainedNetwork
    file: Path
    """The checkpoint."""
    run: LinkedRun | None
    """The run that left it."""
    seq_length: int
    """S of the run; else as many as the network has positions."""
    vocab: Path | None
    """The vocab.txt: the one that was named, or the one beside a checkpoint."""
    lowercase: bool | None
    """Whether texts are lower-cased; None where that is not known."""
    characters: bool
    """Whether every character is a word to be tagged, as in CLUENER."""


def find(request: Request) -> Source:
    """Return the network that the command line means, checked.

    Raises:
        InputError: A file is missing or damaged, or the network is not as described.
        UsageError: Something must be named that is not.
    """
    linked = request.source.suffix in (".json", ".toml")
    if linked and request.recipe is not None:
        raise UsageError("--recipe describes a checkpoint; a run has its own recipe")
    return _of_run(request) if linked else _of_checkpoint(request)


def _of_run(request: Request) -> Source:
    path = str(request.source.absolute())
    manifest = request.source.suffix == ".json"
    link = ManifestLink(manifest=path) if manifest else RecipeLink(recipe=path)
    run = find_parent_run(link, request.root)
    recipe = recorded_recipe(run)
    file, arrays = read_arrays(run.checkpoint)
    which = request.which or _only_network(arrays, file)
    described = _by_recipe(recipe, which, str(run.path))
    if not any(name.startswith(f"{which}.") for name in arrays):
        raise UsageError(f"the run left no {which}", where=str(file))
    return _source(request, described, file, arrays, run, recipe.data.seq_length)


def recorded_recipe(run: LinkedRun) -> AnyRecipe:
    """Return the recipe that a run had, as its manifest has recorded it.

    Raises:
        InputError: This version of the program has other recipes.
    """
    facts = run.manifest.inputs.recipe
    given: dict[str, list[str]] = {"--set": [], "--device": []}
    for argument in facts.overrides:
        option, _, value = argument.partition(" ")
        given[option].append(value)
    device = given["--device"][0] if given["--device"] else None
    document, _ = overridden(parse(facts.path, facts.text.encode()), given["--set"], device)
    try:
        return STAGES[run.manifest.inputs.stage].model_validate(document.values)
    except (KeyError, ValidationError) as error:
        raise InputError(
            "the recorded recipe is not one of this version of the program",
            where=str(run.path),
            cure="use the program's version that wrote it: its commit is in inputs.code",
        ) from error


def _of_checkpoint(request: Request) -> Source:
    file, arrays = read_arrays(request.source)
    beside = file.parent / "config.json"
    if request.recipe is not None:
        recipe = load(request.recipe).recipe
        which = request.which
        if which is None:
            described_ones = [each for each in BOTH if getattr(recipe, each) is not None]
            if len(described_ones) > 1:
                cure = "choose: --network teacher, or --network student"
                raise UsageError(
                    "the recipe describes two networks", where=str(request.recipe), cure=cure
                )
            which = described_ones[0]
        described = _by_recipe(recipe, which, str(request.recipe))
        seq_length = recipe.data.seq_length
    elif beside.is_file():
        described = description.decode_config(beside, _known(arrays))
        seq_length = described[0].max_position_embeddings
    else:
        raise UsageError(
            "nothing describes the network of this checkpoint",
            where=str(file),
            cure="name a recipe that does: --recipe RECIPE --network student; "
            "or name the run's manifest instead of its checkpoint",
        )
    return _source(request, described, file, arrays, None, seq_length)


def _source(
    request: Request,
    described: Described,
    file: Path,
    arrays: dict[str, Array],
    run: LinkedRun | None,
    seq_length: int,
) -> Source:
    config, head_config = described
    sidecar = next((sidecar for _, sidecar in run.sidecars()), None) if run is not None else None
    labels = None
    if head_config is not None:
        task = sidecar.task if sidecar is not None else None
        labels = recorded_labels(file) or (task.labels if task is not None else None)
    found = assemble(arrays, config, head_config, labels=labels, where=str(file))
    vocab, lowercase, characters = request.vocab, None, False
    if sidecar is not None:
        lowercase = sidecar.vocabulary.lowercase
        characters = sidecar.task is not None and sidecar.task.name == "cluener"
    elif run is None:
        beside = file.parent / "vocab.txt"
        vocab = vocab or (beside if beside.is_file() else None)
        lowercase = description.lowercase(file.parent / "tokenizer_config.json")
    _check_vocabulary(vocab, found, sidecar)
    return Source(found, file, run, seq_length, vocab, lowercase, characters)


def _by_recipe(recipe: AnyRecipe, which: Which, where: str) -> Described:
    """Return a network of a recipe; one that has learned no task has no head."""
    if getattr(recipe, which) is None:
        raise UsageError(f"the recipe describes no {which}", where=where)
    headless = isinstance(recipe, GeneralDistill) or (
        isinstance(recipe, TaskDistill) and recipe.phase2 is None and which == "student"
    )
    return network(recipe, which), None if headless else head(recipe, which)


def _only_network(arrays: Mapping[str, Array], file: Path) -> Which:
    """Return the network that a run's checkpoint holds."""
    held = [which for which in BOTH if any(name.startswith(f"{which}.") for name in arrays)]
    if len(held) != 1:
        raise UsageError(
            f"the run's checkpoint holds {len(held)} networks",
            where=str(file),
            cure="choose: --network teacher, or --network student",
        )
    return held[0]


def _known(arrays: dict[str, Array]) -> dict[str, Array]:
    """Return the arrays by canonical name; if that fails, `assemble` says why."""
    try:
        names, _ = canonical_names(arrays)
    except ValueError:
        return {}
    return {meaning: arrays[name] for meaning, name in names.items()}


def _check_vocabulary(path: Path | None, found: TrainedNetwork, sidecar: Sidecar | None) -> None:
    """Refuse a vocab.txt that is not the one of the network's records."""
    if path is None:
        return
    vocabulary = load_vocabulary(path)
    rows = found.config.vocab_size
    if len(vocabulary.ids) > rows:
        raise InputError(
            f"the vocabulary has {len(vocabulary.ids):,} tokens, the network {rows:,}",
            where=str(path),
        )
    if sidecar is not None and sidecar.vocabulary.sha256 != vocabulary.sha256:
        raise InputError(
            "the vocabulary is not the one that the run's records were made with",
            where=str(path),
            cure=f"name the file with SHA-256 {sidecar.vocabulary.sha256}",
        )
