"""What holds for every test: no network, one torch thread, and mechbp's annotations checked at run time."""

import contextlib
import os
import signal
import socket

os.environ.update(HF_HUB_OFFLINE="1", WANDB_MODE="disabled")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: commands that tests start would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import jaxtyping  # noqa: E402
import pytest  # noqa: E402

# Before the first import of mechbp: from here on every call checks its arguments' and result's types, shapes and dtypes.
jaxtyping.install_import_hook("mechbp", "annotation_checks.check")

from mechbp.errors import MechbpError  # noqa: E402

network_attempts: list[str] = []


def _refuse(what):
    network_attempts.append(what)
    raise OSError(f"The test suite runs without a network; blocked: {what}")


def _local_only(method):
    """The socket method, except on internet sockets; AF_UNIX stays, asyncio and browser pipes need it."""

    def guarded(self, *args):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _refuse(f"{method.__name__}{args}")
        return method(self, *args)

    return guarded


for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, _local_only(getattr(socket.socket, name)))
for name in ("getaddrinfo", "gethostbyname"):
    setattr(socket, name, lambda *args, name=name, **_: _refuse(f"{name}{args}"))


@pytest.fixture(autouse=True)
def no_network():
    """Fail a test that tried to reach the network, even if the code under test swallowed the error."""
    network_attempts.clear()
    yield network_attempts
    assert not network_attempts


class _RaisesUnchecked(contextlib.AbstractContextManager):
    """pytest.raises with the annotation checks off: a test of a refusal hands over wrong types on purpose."""

    def __init__(self, context):
        self.context = context

    def __enter__(self):
        jaxtyping.config.update("jaxtyping_disable", True)
        return self.context.__enter__()

    def __exit__(self, *exception):
        jaxtyping.config.update("jaxtyping_disable", False)
        return self.context.__exit__(*exception)


_raises = pytest.raises


def _raises_mechbp_errors_unchecked(expected=None, *args, **kwargs):
    context = _raises(expected, *args, **kwargs) if expected is not None else _raises(**kwargs)
    kinds = expected if isinstance(expected, tuple) else (expected,)
    refusal = any(isinstance(kind, type) and issubclass(kind, MechbpError) for kind in kinds)
    return _RaisesUnchecked(context) if refusal and hasattr(context, "__enter__") else context


pytest.raises = _raises_mechbp_errors_unchecked


@pytest.fixture
def unchecked():
    """Leave the annotation checks off: for calls that accept more than their static types promise."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Results may depend on the thread count in the last bit; one thread also leaves the other core to its owner."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def tiny_encoder():
    """A bidirectional HookedTransformer with random weights for q = 4, depth 2: 2 layers, d_model 16, 2 heads."""
    from mechbp.models.architectures import build_model
    from mechbp.models.config import ModelConfig

    config = ModelConfig(n_layers=2, n_heads=2, d_model=16, d_mlp=32)
    return build_model(config, d_vocab=6, d_vocab_out=4, n_ctx=4, seed=0)


def pytest_collection_modifyitems(items):
    """Begin with files whose tests take long, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("early") is None)
