"""The networks of a run: layers, width and parameters of teacher and student."""

from dataclasses import dataclass

from tinybert.manifest.document import Run
from tinybert.report.lineage import ancestors, parent_links
from tinybert.report.words import network_words

ARROW = "\N{RIGHTWARDS ARROW}"


@dataclass(frozen=True)
class NetworkFacts:
    """The network that a run trains or measures, and its teacher."""

    size: str
    """Layers and width; empty where the recipe has none."""
    parameters: int | None
    """None: the graph was not built."""
    teacher: "NetworkFacts | None" = None
    """Of a student, as far as it is known."""

    @property
    def label(self) -> str:
        """What it is."""
        return "Network" if self.teacher is None else "Teacher to student"

    @property
    def sizes(self) -> str:
        """Layers and width, of a student after those of its teacher."""
        own = self.size or "-"
        return own if self.teacher is None else f"{self.teacher.size} {ARROW} {own}"


def networks_of(run: Run) -> NetworkFacts:
    """Return the networks of a run; of an evaluated student, the teacher of its own training."""
    values, built = run.manifest.inputs.recipe.values, run.manifest.effective
    counts: dict[str, int] = {}
    for facts in built.trainings() if built else ():
        counts |= facts.parameters
    teacher, student = (
        NetworkFacts(network_words(values, role), counts.get(role))
        for role in ("teacher", "student")
    )
    if not student.size:
        return teacher
    if not teacher.size or teacher.parameters is None:
        trained = teacher_of(run)
        teacher = teacher if trained is None else networks_of(trained)
    return NetworkFacts(student.size, student.parameters, teacher if teacher.size else None)


def teacher_of(run: Run) -> Run | None:
    """Return the run that left the teacher of a student, or of the student's own training."""
    for each in ancestors(run.path, parent_links(run)):
        if each.role == "teacher" and not each.problem:
            return each.run
    return None
