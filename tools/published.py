"""Published settings and results: of the MindSpore TinyBERT example, and of the TinyBERT paper.

Sources, by the names that comments use:

    example   https://github.com/mindspore-ai/models, research/nlp/tinybert; earlier in
              https://github.com/mindspore-ai/mindspore, model_zoo/official/nlp/tinybert
    paper     TinyBERT, Jiao et al., arXiv 1909.10351, section 4.2; results are of tables 1 and 2
    authors   https://github.com/huawei-noah/Pretrained-Language-Model, TinyBERT: where the paper
              leaves a value open
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Encoder:
    """A pretrained BERT-base, and what is made from it before the task is known."""

    name: str
    vocab_size: int
    """Tokens of its `vocab.txt`; example, td_config_*.yaml."""
    checkpoint: str
    wikipedia: str
    """Directory of WikiExtractor's files; the records are in `data/` under the same name."""
    general_distillation: str
    """Recipe of the example that leaves the student of a task distillation."""
    end_learning_rate: str
    """Of the example's task distillations: td_config_sst2.yaml and its like for English,
    td_config_ner.yaml and td_config_15cls.yaml for Chinese."""

    @property
    def vocabulary(self) -> str:
        """The file with its tokens."""
        return self.checkpoint.replace(".ckpt", "_vocab.txt")


ENGLISH = Encoder(
    name="uncased BERT-base",
    vocab_size=30522,
    checkpoint="checkpoints/bert_base.ckpt",
    wikipedia="wiki_en",
    general_distillation="recipes/gd_bert_base_8p.toml",
    end_learning_rate="0.0",
)
CHINESE = Encoder(
    name="Chinese BERT-base",
    vocab_size=21128,
    checkpoint="checkpoints/bert_base_chinese.ckpt",
    wikipedia="wiki_zh",
    general_distillation="recipes/gd/gd_bert_base_chinese_8p.toml",
    end_learning_rate="1e-14",
)


@dataclass(frozen=True)
class Student:
    """Sizes of a student."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int

    @property
    def key(self) -> str:
        """Its layers and width, as in names of recipes."""
        return f"{self.num_hidden_layers}x{self.hidden_size}"

    def __str__(self) -> str:
        return f"{self.num_hidden_layers} layers of width {self.hidden_size}"


@dataclass(frozen=True)
class Source:
    """Where settings are published, and what all its recipes share."""

    name: str
    prefix: str
    """Of the names of its recipes."""
    students: tuple[Student, ...]
    network: dict[str, object]
    general: dict[str, object]
    """Values of a general distillation."""
    finetune: dict[str, object]
    """Values of a fine-tuning."""
    distill: dict[str, object]
    """Values of a task distillation."""


EXAMPLE = Source(
    name="the MindSpore TinyBERT example",
    prefix="",
    students=(Student(4, 384, 1536),),  # gd_config.yaml, td_config_*.yaml
    network={
        "hidden_act": "gelu_tanh",  # MindSpore's `gelu`
        "layer_norm_eps": "1e-7",  # MindSpore's `nn.LayerNorm`
        "compute_type": "float16",  # gd_config.yaml, td_config_*.yaml
        "teacher_head": "linear",  # of an ordinary fine-tuning
        "padding_idx": "",  # src/tinybert_model.py: its embeddings are trained whole
    },
    general={  # gd_config.yaml
        "embedding_initializer_range": 0.01,  # src/tinybert_model.py: that of `nn.Embedding`
        "weight_decay": "1e-4",
        "learning_rate": "5e-5",
        "end_learning_rate": "1e-14",
        "warmup": "warmup_ratio = 0.1",  # run_general_distill.py
        "loss_scale_value": 65536,
        "scale_window": 1000,
    },
    finetune={  # the example has none: from the ranges that BERT recommends
        "classifier_dropout_prob": 0.1,
        "learning_rate": "2e-5",
        "warmup": "warmup_ratio = 0.1",
        "loss_scale_value": 65536,
        "scale_window": 50,
    },
    distill={  # td_config_*.yaml, phase1_cfg and phase2_cfg
        "weight_decay": "1e-4",
        "phase1_warmup": "warmup_epoch_ratio = 0.1",  # run_task_distill.py
        "phase1_loss_scale": 256,
        "phase2_learning_rate": "2e-5",
        "phase2_warmup": "warmup_ratio = 0.1",
        "phase2_loss_scale": 65536,
        "scale_window": 50,
    },
)
NO_LOSS_SCALE = {"loss_scale_value": 1, "scale_window": 2**31 - 1}
"""For float32: 1, which never grows."""
WARMUP_LINEAR = 'warmup_ratio = 0.1\ndecay_from = "warmup_end"'
"""Authors, their programs: `warmup_linear` falls from the peak over the steps after the warmup."""
PAPER = Source(
    name="the TinyBERT paper",
    prefix="paper_",
    students=(Student(4, 312, 1200), Student(6, 768, 3072)),  # section 4.2
    network={
        "hidden_act": "gelu",  # authors, transformer/modeling.py: the erf form
        "layer_norm_eps": "1e-12",  # authors, transformer/modeling.py
        "compute_type": "float32",
        "teacher_head": "relu_linear",  # authors, TinyBertForSequenceClassification
        "padding_idx": "\npadding_idx = 0",  # authors, transformer/modeling.py: BertEmbeddings
    },
    general={  # authors, README.md and general_distill.py
        "embedding_initializer_range": 0.02,
        "weight_decay": "0.01",  # no option changes it
        "learning_rate": "5e-5",
        "end_learning_rate": "0.0",
        "warmup": WARMUP_LINEAR,
        **NO_LOSS_SCALE,
    },
    finetune={  # authors, fine_tune_bert.py
        "classifier_dropout_prob": 0.0,
        "learning_rate": "5e-5",
        "warmup": WARMUP_LINEAR,
        **NO_LOSS_SCALE,
    },
    distill={
        "weight_decay": "0.01",  # authors, task_distill.py: no option changes it
        # authors, task_distill.py: phase 1 has the schedule "none", a constant
        "phase1_end_learning_rate": "5e-5",
        "phase1_warmup": "warmup_steps = 0",
        "phase1_loss_scale": 1,
        "phase2_learning_rate": "3e-5",  # authors, README.md; the paper has 1e-5, 2e-5 or 3e-5
        "phase2_end_learning_rate": "0.0",
        "phase2_warmup": WARMUP_LINEAR,
        "phase2_loss_scale": 1,
        "scale_window": 2**31 - 1,
    },
)


@dataclass(frozen=True)
class Task:
    """A task of GLUE or CLUE."""

    key: str
    """Its name in paths."""
    name: str
    task_type: str = "classification"
    num_labels: int = 2
    assessment_method: str = "accuracy"
    """Metric that chooses a checkpoint."""
    seq_length: int = 128
    """64 for single sentences: example, td_config_sst2.yaml; paper."""
    hard_label_weight: str = "0.0"
    """1.0 where the target of phase 2 is the label: example, tinybert_for_gd_td.py; authors,
    task_distill.py."""
    many_rows: bool = False
    """Whether a fine-tuning had better evaluate every 500 steps than every 100."""
    encoder: Encoder = ENGLISH
    raw: str = "glue/{name}/{part}.tsv"
    dev_sets: tuple[str, ...] = ("dev",)
    """The first chooses the checkpoint of a training."""
    config: str = "td_config_mnli.yaml"
    """Example: its own, or that of the most similar task."""
    example_result: str = ""
    """Example, README.md; empty for a task that it does not have."""
    example_differs: str = ""
    """In what the recipe differs from the example's program for this task alone."""
    measure: str = "accuracy"
    """Name of the paper's scores."""
    teacher_result: str = ""
    """Paper, table 1: BERT-base on the GLUE test set."""
    paper_results: tuple[str, ...] = ()
    """Paper, table 1: its students on the GLUE test set, with data augmentation."""
    dev_results: tuple[str, ...] = ()
    """Paper, table 2: the student of 4 x 312 on the dev sets, without data augmentation."""
    paper_epochs: int = 20
    """Paper, section 4.2: of phase 1."""
    teacher_epochs: int = 3
    """Authors, fine_tune_bert.py."""


TASKS = (
    Task(
        key="sst2",
        name="SST-2",
        seq_length=64,
        config="td_config_sst2.yaml",
        example_result="accuracy 0.9028, which counts 780 of 864 rows",
        teacher_result="93.4",
        paper_results=("92.6", "93.1"),
    ),
    Task(
        key="qnli",
        name="QNLI",
        many_rows=True,
        config="td_config_qnli.yaml",
        example_result="accuracy 0.8860",
        teacher_result="90.9",
        paper_results=("87.7", "90.4"),
        paper_epochs=10,
    ),
    Task(
        key="mnli",
        name="MNLI",
        num_labels=3,
        many_rows=True,
        dev_sets=("dev_matched", "dev_mismatched"),
        example_result="accuracy 0.8116",
        teacher_result="83.9/83.4",
        paper_results=("82.5/81.8", "84.6/83.2"),
        dev_results=("80.5", "81.0"),
        paper_epochs=10,
    ),
    Task(
        key="mrpc",
        name="MRPC",
        assessment_method="bf1",
        measure="a score of",
        teacher_result="87.5",
        paper_results=("86.4", "87.3"),
        dev_results=("82.4",),
    ),
    Task(
        key="cola",
        name="CoLA",
        assessment_method="matthews",
        seq_length=64,
        config="td_config_sst2.yaml",
        measure="Matthews correlation",
        teacher_result="52.8",
        paper_results=("44.1", "51.1"),
        dev_results=("29.8",),
        paper_epochs=50,
    ),
    Task(
        key="rte",
        name="RTE",
        teacher_result="67.0",
        paper_results=("66.6", "70.0"),
        teacher_epochs=5,
    ),
    Task(
        key="stsb",
        name="STS-B",
        task_type="regression",
        num_labels=1,
        assessment_method="pearson",
        hard_label_weight="1.0",
        measure="correlation",
        teacher_result="85.2",
        paper_results=("80.4", "83.7"),
    ),
    Task(
        key="qqp",
        name="QQP",
        assessment_method="bf1",
        many_rows=True,
        measure="F1",
        teacher_result="71.1",
        paper_results=("71.3", "71.6"),
        paper_epochs=10,
    ),
    Task(
        key="tnews",
        name="TNEWS",
        num_labels=15,
        many_rows=True,
        encoder=CHINESE,
        raw="tnews/{part}.json",
        config="td_config_15cls.yaml",
        example_result="accuracy 0.53",
    ),
    Task(
        key="cluener",
        name="CLUENER",
        task_type="ner",
        num_labels=21,
        assessment_method="entity_f1",
        encoder=CHINESE,
        raw="cluener/{part}.json",
        config="td_config_ner.yaml",
        example_result="no entity F1 is published; 0.915, an accuracy of positions that counts "
        "padding",
        example_differs="; tags are BIO, 21 labels (its records have 43), and the attention loss "
        "counts (its code mixes up mask and segments, so that it is always 0)",
    ),
)
