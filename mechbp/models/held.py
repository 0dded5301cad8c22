"""What a run from memory has where a stored one has a recipe: its process and its model, described as tables of run.toml are.

Where a table could say the same it is that table's class, so that pages and `save` find what they know.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import torch

from mechbp.arguments import check_protocol, told
from mechbp.errors import InputError
from mechbp.models.architectures import HookedTransformer, untrained_twin
from mechbp.models.config import ModelConfig, PostNormConfig
from mechbp.models.families import families
from mechbp.models.own_process import OWN
from mechbp.models.post_norm import PostNormEncoder
from mechbp.models.tasks.task import Family, Task

PROTOCOL = ("cfg", "hook_dict", "run_with_cache", "run_with_hooks", "named_parameters")
STREAM = "blocks.0.hook_resid_pre"
"""A model with this hook has a residual stream that pages can look into."""


@dataclass(frozen=True, eq=False)
class HeldRecipe:
    """A process in memory that no table of a recipe can tell."""

    process: Any
    own_family: Family
    kind: Literal["held"] = "held"

    @property
    def n_tokens(self) -> int:
        """Most tokens that a model reads."""
        return max(task.n_positions(self.process) for task in self.own_family.tasks.values())

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        return type(self.process).__name__

    def provenance(self) -> dict[str, str | int]:
        """Return what a page says about the process of a run."""
        return {"process": f"{self.name}, in memory"}

    def build(self) -> Any:
        """Return the process."""
        return self.process


@dataclass(frozen=True)
class HeldTransformer(ModelConfig):
    """A transformer whose activation or normalisation no recipe can name."""

    act_fn: Any = "relu"
    normalization: Any = "LN"


@dataclass(frozen=True)
class HeldModel:
    """A hooked model that is no transformer with a residual stream: pages that need one leave it out."""

    n_layers: int
    n_heads: int
    d_model: int
    d_mlp: int
    d_head: int
    attention: Literal["bidirectional", "causal"]
    act_fn: str = ""
    normalization: str = ""
    outputs: Literal["logits", "probabilities"] = "logits"
    kind: Literal["own"] = "own"


def held_process(process: Any, task: str | Task | None) -> tuple[Any, str]:
    """Return what stands in place of a [process] table, and the name of the task under it.

    Raises InputError for a name that means nothing for this process.
    """
    family = next((found for found in families() if isinstance(process, found.processes)), None)
    if task is None and family is not None:
        task = next(iter(family.tasks))
    if task is None or isinstance(task, str):
        if family is None:
            raise InputError(
                f"Run.from_model: {type(process).__name__} belongs to no registered family, so that task={told(task)} has no "
                "meaning.\nPass a mechbp.Task of your own, or name the class in your Family's `processes`."
            )
        if task is None or task not in family.tasks:
            known = ", ".join(map(repr, family.tasks))
            what = type(process).__name__
            raise InputError(f"Run.from_model: a model of a {what} can be asked {known}, got task={told(task)}.")
        if family.recipe_of is not None:
            return family.recipe_of(process), task
        return HeldRecipe(process, family), task
    if isinstance(task, type) or not isinstance(task, Task):
        raise InputError(f"Run.from_model: task must be the name of one or a mechbp.Task, got {told(task)}.")
    if family is not None and family.recipe_of is not None:
        for name, known in family.tasks.items():
            if known is task:
                return family.recipe_of(process), name
    name = type(task).__name__
    return HeldRecipe(process, Family(OWN, (HeldRecipe,), {name: task})), name


def held_config(model: Any) -> Any:
    """Return what stands in place of a [model] table. Raises HookError for what is no hooked model."""
    check_protocol(model, PROTOCOL, "Run.from_model")
    cfg = model.cfg
    n_heads, d_model = int(cfg.n_heads), int(cfg.d_model)
    sizes: dict[str, Any] = {"n_layers": int(cfg.n_layers), "n_heads": n_heads, "d_model": d_model}
    attention: Any = getattr(cfg, "attention_dir", "causal")
    d_mlp = 0 if getattr(cfg, "attn_only", False) else int(getattr(cfg, "d_mlp", 0) or 0)
    if isinstance(model, PostNormEncoder):
        return PostNormConfig("post-norm", **sizes, d_mlp=d_mlp)
    d_head = int(getattr(cfg, "d_head", 0) or 0)
    act_fn = getattr(cfg, "act_fn", None)
    normalization = "none" if (found := getattr(cfg, "normalization_type", None)) is None else found
    if STREAM not in model.hook_dict:
        outputs: Any = getattr(cfg, "outputs", "logits")
        return HeldModel(**sizes, d_mlp=d_mlp, d_head=d_head, attention=attention, outputs=outputs)
    sizes |= {"d_mlp": d_mlp, "d_head": 0 if d_head * n_heads == d_model else d_head}
    plain = (d_mlp == 0 or act_fn in ("relu", "gelu", "relu2")) and normalization in ("LN", "none")
    kind: Any = ModelConfig if plain else HeldTransformer
    return kind(**sizes, act_fn=act_fn if d_mlp else "relu", normalization=normalization, attention=attention)


def held_copy(model: Any) -> Any:
    """Return a copy of a model in eval mode on the CPU, which nobody else trains or edits."""
    found = copy.deepcopy(model).eval()
    if any(tensor.device.type != "cpu" for tensor in found.state_dict().values()):
        torch.nn.Module.to(found, "cpu")
        if hasattr(found.cfg, "device"):
            found.cfg.device = "cpu"
    return found


def untrained_like(model: Any, seed: int) -> Any:
    """Return the architecture of a model with random weights, in eval mode: the control of a model that no recipe builds.

    A HookedTransformer's are drawn as those of recipes; of any other model matrices are normal with their own standard
    deviation, and the entries of vectors (biases, gains) stand at their mean.
    """
    if type(model) is HookedTransformer:
        return untrained_twin(model, seed)
    found = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, float(parameter.std()), generator=generator)
            else:
                parameter.fill_(float(parameter.mean()))
    return found.eval()


def digest_of_parameters(model: Any) -> str:
    """Return the SHA-256 of all parameters with their names, types and shapes, hexadecimal."""
    found = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values = parameter.detach().cpu().contiguous()
        found.update(f"{name} {values.dtype} {list(values.shape)}\n".encode())
        found.update(values.reshape(-1).view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return found.hexdigest()
