"""The strict base class of a recipe's tables, value types, and links to runs."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

PositiveInt = Annotated[int, Field(ge=1, lt=2**31)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
DropoutRate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
NoDropout = Annotated[float, Field(ge=0, le=0, allow_inf_nan=False)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$")]
Path = Text


class Table(BaseModel):
    """A TOML table: strict types, no unknown keys, never mutated."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


class ManifestLink(Table):
    """The best checkpoint of the run that a manifest describes."""

    manifest: Path
    """Path of the manifest."""


class RecipeLink(Table):
    """The best checkpoint of the finished run of another recipe, as that recipe reads now."""

    recipe: Path
    """Path of the recipe."""


def _source_kind(value: Any) -> str:
    if isinstance(value, dict | RecipeLink):
        return "recipe" if "recipe" in dict(value) else "manifest"
    return "manifest" if isinstance(value, ManifestLink) else "path"


Source = Annotated[
    Annotated[Path, Tag("path")]
    | Annotated[ManifestLink, Tag("manifest")]
    | Annotated[RecipeLink, Tag("recipe")],
    Discriminator(_source_kind),
]
