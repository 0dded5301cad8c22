"""A run's recipe: frozen dataclasses read from run.toml, every key checked before anything is built."""

from __future__ import annotations

import json
import math
import re
import tomllib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mechbp.errors import InputError, LimitExceeded, MechbpError, reason
from mechbp.models.families import families, task_of
from mechbp.models.llc_config import LLCConfig
from mechbp.models.numbers import read_numbers
from mechbp.models.own_process import Code, CodeRecipe, names_code, read_code_recipe
from mechbp.models.recipe_tables import dataclass_from, in_range, member, shown
from mechbp.models.tasks.objective import ObjectiveConfig
from mechbp.models.tasks.task import Task
from mechbp.storage import NAME, open_regular

MAX_RECIPE_BYTES = 100_000
MAX_PARAMETERS = 40_000_000
"""Weights and both AdamW moments in float32 then fit one stored step of 512 MB."""
MAX_BATCH_TOKENS = 2**24
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ModelConfig:
    """A transformer; d_mlp = 0 means attention only."""

    n_layers: int
    n_heads: int
    d_model: int
    d_mlp: int
    act_fn: Literal["relu", "gelu", "relu2"] = "relu"
    normalization: Literal["LN", "none"] = "LN"
    attention: Literal["bidirectional", "causal"] = "bidirectional"
    d_head: int = 0
    """Dimensions of a head; 0 means d_model / n_heads."""
    kind: Literal["transformer"] = "transformer"

    @property
    def outputs(self) -> Literal["logits"]:
        """What the output stands for."""
        return "logits"

    def __post_init__(self) -> None:
        in_range(
            "model", self, n_layers=(1, 64), n_heads=(1, 64), d_model=(2, 4096), d_mlp=(0, 65536), d_head=(0, 4096)
        )  # fmt: skip
        if not self.d_head and self.d_model % self.n_heads:
            raise InputError(f"model: d_model = {self.d_model} must be a multiple of n_heads = {self.n_heads}.")
        wide = self.n_heads * self.d_head if self.d_head else self.d_model
        _few_parameters(self.n_layers * self.d_model * (4 * wide + 2 * self.d_mlp))


@dataclass(frozen=True)
class PostNormConfig:
    """An encoder with fixed sinusoidal positions that normalises after every addition; the task decides how it is read."""

    kind: Literal["post-norm"]
    n_layers: int
    n_heads: int
    d_model: int
    d_mlp: int
    attention: Literal["bidirectional"] = "bidirectional"

    @property
    def outputs(self) -> Literal["logits"]:
        """What the output stands for."""
        return "logits"

    def __post_init__(self) -> None:
        in_range("model", self, n_layers=(1, 64), n_heads=(1, 64), d_model=(2, 4096), d_mlp=(1, 65536))
        if self.d_model % self.n_heads or self.d_model % 2:
            raise InputError(f"model: d_model = {self.d_model} must be even and a multiple of n_heads = {self.n_heads}.")
        _few_parameters(self.n_layers * self.d_model * (4 * self.d_model + 2 * self.d_mlp))


@dataclass(frozen=True)
class TopicAttentionConfig:
    """The one-layer model whose optimum theory knows: embedding, one attention head, unembedding, and nothing beside them.

    What is trained, and where the rest stands (identities are one row per input token):
    emb    embedding; values are the identity, attention is uniform, the unembedding is the embedding transposed
    wv     values; embedding and unembedding are the identity, attention is uniform
    kq     queries and keys; as wv, but values stand at `same`, `different` and `mask`
    joint  values, queries and keys; embedding and unembedding are the identity
    both   embedding, queries and keys; values are the identity, the unembedding is the embedding transposed
    """

    kind: Literal["topic-attention"]
    regime: Literal["emb", "wv", "kq", "joint", "both"]
    sigma: float = 0.01
    """Standard deviation of the trained weights at step 0; their mean is 0."""
    bias: bool = False
    """Whether the unembedding has a bias that is trained."""
    outputs: Literal["logits", "probabilities"] = "logits"
    """What the output stands for: logits, or, for squared loss, the probabilities themselves."""
    same: float = 0.0
    """Regime kq: value of an input word for an output word of its topic."""
    different: float = 0.0
    """Regime kq: value of an input word for an output word of another topic."""
    mask: float = 0.0
    """Regime kq: value of MASK for every output word."""
    attention: Literal["bidirectional"] = "bidirectional"

    def __post_init__(self) -> None:
        in_range("model", self, sigma=(0, 10), same=(-100, 100), different=(-100, 100), mask=(-100, 100))
        if self.regime != "kq" and (self.same or self.different or self.mask):
            raise InputError(
                f"model: same, different and mask fix the values of regime 'kq'; regime {self.regime!r} trains them."
            )


@dataclass(frozen=True)
class TrainingConfig:
    """AdamW or plain gradient descent on fresh sequences or a fixed set: linear warm-up, then linear, cosine or no decay."""

    steps: int
    """0 only where start.given says that the weights were trained elsewhere."""
    batch_size: int
    learning_rate: float
    seed: int = 0
    warmup_steps: int = 500
    decay: Literal["linear", "cosine", "none"] = "linear"
    final_rate: float = 0.0
    """Where linear and cosine decay end, as a share of learning_rate."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or stochastic gradient descent without momentum."""
    weight_decay: float = 0.01
    """Decay of AdamW, apart from the loss."""
    l2: float = 0.0
    """Weight of the sum of squared weights in the loss. With AdamW and no weight_decay, half the decay of Adam's coupled kind."""
    beta2: float = 0.99
    gradient_clip: float = 1.0
    stored_steps: int = 16
    """How many log-spaced steps to keep, besides step 0."""
    measured_steps: int = 64
    """How many log-spaced steps get a line in metrics.jsonl, besides step 0 and the stored ones."""
    resume_every: int = 1000
    """Steps between two writes of the resumable state: the most that a crash can lose."""
    training_set: int = 0
    """Sequences drawn once and reshuffled every epoch; 0 draws fresh ones for every batch."""
    early_stopping: float = 0.0
    """Stop after the warm-up at the first measured step that is this many times the best one, and keep only the best: the one
    with the lowest cross-entropy on held-out sequences. 0 trains to the last step."""

    def __post_init__(self) -> None:
        in_range(
            "training", self, steps=(1 if self.steps else 0, 10**8), batch_size=(1, 10**6), learning_rate=(0, 1000),
            seed=(0, 2**63 - 1), warmup_steps=(0, 10**8), final_rate=(0, 1),
            weight_decay=(0, 10), l2=(0, 10), beta2=(0, 0.999999), gradient_clip=(0, 1e6), stored_steps=(1, 200),
            measured_steps=(1, 10_000), resume_every=(1, 10**8), training_set=(0, 2**22), early_stopping=(0, 1000),
        )  # fmt: skip
        if 0 < self.early_stopping <= 1:
            raise InputError(f"training.early_stopping must be 0 (never) or above 1, got {self.early_stopping:g}.")


@dataclass(frozen=True)
class StartConfig:
    """Where training starts: at random weights, or at the last stored step of another run in the same folder of runs.

    Everything but the unembedding is taken over, and of the position embedding what both runs have.
    """

    run: str = ""
    """Its name; empty for random weights."""
    sha256: str = ""
    """Digest of the stored step, so that the recipe still determines the weights."""
    given: str = ""
    """Instead of both: digest of parameters that were trained elsewhere, as `mechbp.Run.save` writes it with their one step."""

    def __post_init__(self) -> None:
        in_range("start", self)
        if self.given and (self.run or self.sha256 or not DIGEST.fullmatch(self.given)):
            raise InputError(f"start.given is the SHA-256 of weights, and stands alone in [start], got {shown(self.given)}.")
        if bool(self.run) != bool(self.sha256) or (self.run and not NAME.fullmatch(self.run)):
            raise InputError(
                f"start needs the name of a run beside this one and the sha256 of its last step, got {shown(self.run)} and "
                f"{shown(self.sha256)}.\n`mechbp list` shows the names, `Run.digest` is the digest."
            )


@dataclass(frozen=True)
class RequirementConfig:
    """What `mechbp verify` asks of the final model; an absent bound is not checked."""

    kl_bp_to_model_nats: float = math.inf
    """Largest mean D(BP || model)."""
    accuracy: float = 0.0
    """Smallest accuracy."""
    accuracy_below_bp: float = 1.0
    """Largest amount by which accuracy may fall below that of BP on the same examples."""


@dataclass(frozen=True)
class RunConfig:
    """The whole recipe of a run; equal recipes give equal checkpoints (same torch, device type and thread count)."""

    process: Any
    """A ProcessRecipe of one of the registered families."""
    model: Any
    """A ModelConfig, a PostNormConfig or a TopicAttentionConfig."""
    objective: ObjectiveConfig
    training: TrainingConfig
    requirement: RequirementConfig = RequirementConfig()
    start: StartConfig = StartConfig()
    llc: tuple[LLCConfig, ...] = ()
    """What `mechbp measure` measures at stored steps; one table [llc], or several [[llc]] of different names."""

    def __post_init__(self) -> None:
        if (self.training.steps == 0) != bool(self.start.given):
            raise InputError(
                "start.given: weights that were trained elsewhere are not trained here. Set training.steps = 0."
                if self.training.steps
                else "training.steps must be in 1..100000000, got 0."
            )
        if self.names_code and self.process.made is None:
            return  # what follows asks the process, whose code nobody has executed
        self._check_llc()
        tokens = self.training.batch_size * self.process.n_tokens
        if tokens > MAX_BATCH_TOKENS:
            raise LimitExceeded(
                f"training: a batch of {tokens:,} tokens; at most {MAX_BATCH_TOKENS:,} are allowed. Lower batch_size or length."
            )
        needed = self.task.attention
        if self.model.attention != needed:
            raise InputError(
                f"recipe: task {self.objective.task!r} needs {needed} attention, got {self.model.attention!r}. "
                f"Change model.attention or objective.task."
            )
        if getattr(self.task, "asks_once", False) and not isinstance(self.model, PostNormConfig):
            raise InputError(
                f"recipe: task {self.objective.task!r} reads all positions at once, which only a model of kind 'post-norm' can.\n"
                f"Set model.kind, or choose a task that is asked at one position."
            )
        outputs = "probabilities" if self.objective.loss == "squared" else "logits"
        if self.model.outputs != outputs:
            raise InputError(
                f"recipe: loss {self.objective.loss!r} needs a model whose outputs are {outputs}, got {self.model.outputs}.\n"
                f"Set objective.loss, or model.outputs of a model of kind 'topic-attention'."
            )

    def _check_llc(self) -> None:
        names = [setting.name for setting in self.llc]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"llc: two settings are called {twice[0]!r}. Give each table [[llc]] a name of its own.")
        for setting in self.llc:
            tokens = setting.batch_size * setting.n_batches * self.process.n_tokens
            if tokens > MAX_BATCH_TOKENS:
                raise LimitExceeded(
                    f"llc.{setting.name}: batches of {tokens:,} tokens in all; at most {MAX_BATCH_TOKENS:,} are allowed. "
                    f"Lower n_batches or batch_size."
                )

    @property
    def names_code(self) -> bool:
        """Whether the process is made by code beside the run."""
        return isinstance(self.process, CodeRecipe)

    @property
    def stands_in(self) -> str:
        """Which files of the run folder hold the recipe, in words."""
        return f"run.toml with {self.process.file}" if self.names_code else "run.toml"

    @property
    def task(self) -> Task:
        """What the model is asked."""
        return task_of(self.process, self.objective.task)

    def trained_recipe(self) -> str:
        """Return everything that determines the weights as canonical JSON (requirements and measurements do not)."""
        recipe = {name: table for name, table in asdict(self).items() if name not in ("requirement", "llc")}
        if self.names_code:
            recipe["process"] = self.process.to_table()
        return json.dumps(recipe, sort_keys=True)

    def trained_by(self, stored: str) -> bool:
        """Return whether `stored`, the canonical JSON in a checkpoint, is this recipe; keys it does not have yet are defaults."""
        try:
            other = _config(json.loads(stored))
        except (MechbpError, ValueError, RecursionError):
            return False
        return replace(self, requirement=other.requirement, llc=other.llc) == other


def read_recipe(path: Path, code: Code = "refuse") -> RunConfig:
    """Read and check run.toml. Raises InputError naming the file, the key, what it holds and what was expected.

    code: what becomes of code that it names beside itself: an InputError that says what would be executed; "execute"; or "leave",
    where everything is checked that needs no process.
    """
    try:
        with open_regular(path) as file:
            raw = file.read(MAX_RECIPE_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}. A run is a folder with a run.toml in it.") from error
    if len(raw) > MAX_RECIPE_BYTES:
        raise InputError(f"{path}: it is too large, a recipe has at most {MAX_RECIPE_BYTES:,} bytes.")
    return checked_recipe(raw, str(path), path.parent, code)


def checked_recipe(text: str | bytes, where: str, folder: Path | None = None, code: Code = "leave") -> RunConfig:
    """Read and check the text of a recipe; errors as those of `read_recipe`, which say `where` it stands.

    folder: where the files are that it names.
    """
    tables = _parsed(text, where)
    try:
        config = _config(tables, folder)
        if config.names_code and code != "leave":
            assert folder is not None
            if code == "refuse":
                raise config.process.refusal(folder)
            config = replace(config, process=config.process.executed(folder))
        if not config.names_code or config.process.made:
            config.process.build()
    except (InputError, LimitExceeded) as error:
        raise type(error)(f"{where}: {error}") from error
    except RecursionError as error:
        raise InputError(f"{where}: nested too deeply for a recipe.") from error
    return config


def _parsed(text: str | bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode("utf-8") if isinstance(text, bytes) else text)
    except (ValueError, RecursionError) as error:  # not UTF-8, no TOML, an integer of thousands of digits, too deep
        raise InputError(f"{where} is no valid TOML: {reason(error)}.") from error


def named_files(text: str, where: str) -> list[str]:
    """Return the names of the files beside a recipe that its text names: code, and tables of numbers. Raises InputError."""
    try:
        table = _parsed(text, where).get("process")
        if names_code(table):
            return [read_code_recipe(table, None).file]
        return [table[key] for key in _numbers_of(table)] if isinstance(table, dict) else []
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _config(tables: Any, folder: Path | None = None) -> RunConfig:
    """Build a recipe from its tables; [process] becomes a recipe of one of the registered families, its files read."""
    models = [ModelConfig, PostNormConfig, TopicAttentionConfig]
    processes = _process_recipes()
    table = tables.get("process") if isinstance(tables, dict) else None
    if names_code(table):
        tables = {**tables, "process": read_code_recipe(table, folder)}
        processes.append(CodeRecipe)
    elif isinstance(table, dict):
        read = {key: read_numbers(folder, table[key], f"process.{key}") for key in _numbers_of(table)}
        tables = {**tables, "process": {**table, **read}}
    return dataclass_from(RunConfig, tables, "recipe", {"process": processes, "model": models})


def _process_recipes() -> list[type]:
    return [cls for family in families() for cls in family.recipes]


def _numbers_of(table: dict[str, Any]) -> list[str]:
    """Keys of a [process] table that name a file of numbers."""
    known = getattr(member(_process_recipes(), table, "process"), "numbers", ())
    return [key for key in known if isinstance(table.get(key), str)]


def _few_parameters(parameters: int) -> None:
    if parameters > MAX_PARAMETERS:
        raise LimitExceeded(
            f"model: about {parameters:,} parameters; at most {MAX_PARAMETERS:,}. Lower n_layers, d_model or d_mlp."
        )
