"""An exported model is the same model, loaded without mechbp."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_runs import write_run

from mechbp.errors import InputError
from mechbp.models.export import export
from mechbp.models.runs import load
from mechbp.models.training import train

PROGRAM = """
import sys
sys.modules["mechbp"] = None  # an import of it fails
import numpy as np, torch
from load_model import load
model = load()
assert not model.training and "hook_embed" in model.hook_dict
np.save("says.npy", model(torch.from_numpy(np.load("tokens.npy"))).detach().numpy())
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("export") / "own", training__steps=6, training__warmup_steps=2)
    train(folder)
    return load(folder)


def test_its_loader_gives_the_same_logits_without_mechbp(trained, tmp_path):
    written = export(trained, tmp_path / "out")
    assert [path.name for path in written] == ["model.safetensors", "config.json", "load_model.py", "hooked_transformer.py"]
    tokens = trained.process.sample(5, np.random.default_rng(0)).tokens
    np.save(tmp_path / "out" / "tokens.npy", tokens)
    found = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path / "out", capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    with torch.no_grad():
        expected = trained.model(torch.from_numpy(tokens)).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out" / "says.npy"), expected, rtol=0, atol=1e-6)


def test_the_configuration_says_what_the_weights_are(trained, tmp_path):
    told = json.loads(export(trained, tmp_path)[1].read_text())
    assert told["run"] == {"name": "own", "step": 6, "task": "masked", "sha256": trained.digest}
    assert told["process"]["mask_token"] == trained.process.mask_token


def test_nothing_is_replaced(trained, tmp_path):
    export(trained, tmp_path)
    with pytest.raises(InputError, match=r"holds model.safetensors already"):
        export(trained, tmp_path)


def test_a_run_folder_is_no_place_for_an_export(trained):
    with pytest.raises(InputError, match="is a run folder, whose files are its own"):
        export(trained, trained.folder)


def test_models_that_transformer_lens_does_not_have_are_refused(tmp_path):
    post_norm = {f"model__{key}": value for key, value in {"kind": "post-norm", "n_heads": 1}.items()}
    folder = write_run(tmp_path / "own", training__steps=2, training__warmup_steps=0, **post_norm)
    train(folder)
    with pytest.raises(InputError, match="PostNormEncoder, which TransformerLens alone cannot load"):
        export(load(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()
