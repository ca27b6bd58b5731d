"""What more cards would do to general distillation, computed from published figures.

    python benchmarks/scale.py            prints the tables of docs/scale.md
    python benchmarks/scale.py --write    puts them there
    python benchmarks/scale.py --measure  measures how fast this host draws dropout masks

Nothing here was run on an Ascend card. docs/scale.md says where each figure is from.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tinybert.model.dropout import dropout_sites
from tinybert.model.parameters import encoder_shapes, linear_shapes
from tinybert.recipe.load import load
from tinybert.recipe.network import NetworkConfig, network

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- python benchmarks/scale.py --write -->\n", "<!-- end of tables -->\n"
RECIPE = "recipes/gd_bert_base_8p.toml"

# Published; sources are in docs/scale.md.
STEP_SECONDS = 35.4e-3
"""A step of the example on 8 cards with 32 rows of 128 tokens each, its messages included."""
TOTAL_HOURS = 17.3
"""Of its 3 epochs."""
PEAK_FLOPS = 256e12
"""Of a card, float16."""
HCCS_BYTES = 240e9 / 8
"""A second through one port of a card to another in its host."""
ROCE_BYTES = 100e9 / 8
"""A second through one port of a card to other hosts."""

# Measured; see docs/scale.md.
DRAWS_A_SECOND = 80e6
"""Of a host's thread, by `--measure`, rounded down."""

HOST_CARDS, ROWS, SEQ_LENGTH = 8, 32, 128
RATE = 5e-5
CARDS = (8, 64, 1024)


def networks() -> tuple[NetworkConfig, NetworkConfig]:
    """Return teacher and student of the preset."""
    recipe = load(ROOT / RECIPE).recipe
    return network(recipe, "teacher"), network(recipe, "student")


def trained_bytes(teacher: NetworkConfig, student: NetworkConfig) -> int:
    """Return the bytes of all gradients in float32: student without pooler, and projection."""
    shapes = {n: s for n, s in encoder_shapes(student).items() if not n.startswith("pooler.")}
    shapes |= linear_shapes("fit_dense", student.hidden_size, teacher.hidden_size)
    total = 0
    for shape in shapes.values():
        size = 4
        for length in shape:
            size *= length
        total += size
    return total


def row_flops(teacher: NetworkConfig, student: NetworkConfig) -> float:
    """Return the floating-point operations of the matrix products that a row takes in a step."""
    states = student.num_hidden_layers + 1
    fit = 2 * SEQ_LENGTH * student.hidden_size * teacher.hidden_size * states
    return forward_flops(teacher) + 3 * (forward_flops(student) + fit)  # backward is twice forward


def forward_flops(config: NetworkConfig) -> float:
    """Return those of a row in an encoder's forward pass."""
    hidden, inner = config.hidden_size, config.intermediate_size
    maps = 2 * SEQ_LENGTH * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 4 * SEQ_LENGTH * SEQ_LENGTH * hidden
    return float(config.num_hidden_layers * (maps + attention))


def ring_seconds(members: int, size: float, rate: float) -> float:
    """Return the time of an all-reduce in a ring without latency: 2 (N - 1) / N of the bytes."""
    return 2 * (members - 1) / members * size / rate


def message_seconds(cards: int, size: float) -> tuple[float, float]:
    """Return the times within hosts and between hosts, where each card sends an eighth."""
    hosts = cards // HOST_CARDS
    within = ring_seconds(HOST_CARDS, size, HCCS_BYTES)
    return within, ring_seconds(hosts, size / HOST_CARDS, ROCE_BYTES)


def mask_elements(student: NetworkConfig, rows: int) -> int:
    """Return the dropout draws of some rows in a step."""
    total = 0
    for site in dropout_sites(student, SEQ_LENGTH):
        size = rows
        for length in site.shape:
            size *= length
        total += size
    return total


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def parts() -> str:
    """Return the table of what a step of the preset is made of."""
    teacher, student = networks()
    size, flops = trained_bytes(teacher, student), row_flops(teacher, student) * ROWS
    draws = mask_elements(student, ROWS)
    rows = [
        ("matrix products a card", f"{flops / 1e9:.0f} GFLOP"),
        ("these at a card's peak", f"{flops / PEAK_FLOPS * 1e3:.1f} ms"),
        ("share of the peak in a step of 35.4 ms", f"{flops / STEP_SECONDS / PEAK_FLOPS:.0%}"),
        ("gradients, float32", f"{size / 1e6:.1f} MB"),
        ("token ids, segment ids, masks and weights a card", f"{_input_bytes() / 1e3:.0f} kB"),
        ("dropout draws a card", f"{draws / 1e6:.1f} million, a byte each from the host"),
        ("these on a host's thread", f"{draws / DRAWS_A_SECOND * 1e3:.0f} ms"),
    ]
    return table(("part of a step", "4 x 384, 32 rows of 128 tokens a card"), rows)


def _input_bytes() -> int:
    """Return the bytes of a card's batch: three int32 a token, two float32 a row."""
    return ROWS * (3 * SEQ_LENGTH + 2) * 4


def growing() -> str:
    """Return the table of more cards with 32 rows each."""
    size = trained_bytes(*networks())
    steps = TOTAL_HOURS * 3600 / STEP_SECONDS
    columns = []
    for cards in CARDS:
        within, between = message_seconds(cards, size)
        step = STEP_SECONDS + between
        times = cards / CARDS[0]
        hours = steps / times * step / 3600
        columns.append(
            (
                f"{cards:,}",
                f"{cards * ROWS:,}",
                f"{within * 1e3:.1f} ms",
                f"{between * 1e3:.1f} ms",
                f"{step * 1e3:.1f} ms",
                f"{STEP_SECONDS / step:.0%}",
                f"{cards * ROWS / step:,.0f}",
                f"{steps / times:,.0f}",
                f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min",
                f"{RATE * times**0.5:.1e} to {RATE * times:.1e}",
            )
        )
    names = (
        "cards",
        "global batch",
        "all-reduce within hosts",
        "all-reduce between hosts",
        "step",
        "efficiency",
        "rows a second",
        "steps of 3 epochs",
        "3 epochs",
        "learning rate, by root or line",
    )
    rows = [(name, *cells) for name, *cells in zip(names, *columns, strict=True)]
    return table(rows[0], rows[1:])


def fixed() -> str:
    """Return the table of more cards at the preset's global batch of 256 rows."""
    size = trained_bytes(*networks())
    within, _ = message_seconds(CARDS[0], size)
    rows = []
    for cards in (8, 16, 32, 64, 128, 256):
        compute = (STEP_SECONDS - within) * CARDS[0] / cards
        step = compute + sum(message_seconds(cards, size))
        ideal = STEP_SECONDS * CARDS[0] / cards
        cells = (f"{cards}", f"{256 // cards}", f"{compute * 1e3:.1f} ms", f"{step * 1e3:.1f} ms")
        rows.append((*cells, f"{ideal / step:.0%}"))
    head = ("cards", "rows a card", "compute, at best", "step, at best", "efficiency, at most")
    return table(head, rows)


def page() -> str:
    """Return docs/scale.md with its tables as they should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def tables() -> str:
    """Return all tables with their captions."""
    return (
        f"One step of `{RECIPE}`:\n\n{parts()}\n"
        f"More cards, 32 rows each, so that the global batch grows:\n\n{growing()}\n"
        f"More cards at a global batch of 256 rows:\n\n{fixed()}"
    )


def measure() -> str:
    """Return how many dropout draws a second one thread of this host makes."""
    import numpy as np

    from tinybert.randomness import keep_mask

    samples = np.arange(ROWS, dtype=np.uint64)
    fastest = 0.0
    for _ in range(10):
        began = time.process_time()
        mask = keep_mask(1, "layer", samples, (12, SEQ_LENGTH, SEQ_LENGTH), 0.1)
        fastest = max(fastest, mask.size / (time.process_time() - began))
    return f"{fastest / 1e6:.0f} million dropout draws a second of processor time"


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        print(measure())
    elif sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(tables(), end="")
