"""On a CUDA device: the reference's numbers, and gradients where they belong (`make test-gpu`)."""

import copy

import pytest
import torch

from mmada.numerics import numerics_class
from tests.tiny import parity, parity_model

pytestmark = pytest.mark.gpu


@pytest.fixture
def device() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch.device("cuda")


def test_forward_equals_the_reference(device: torch.device) -> None:
    _, tensors = parity()
    name = next(key for key in tensors if key.startswith("forward.") and key.endswith("ids"))
    ids = tensors[name]
    cpu = parity_model()
    gpu = copy.deepcopy(cpu).to(device)
    with torch.no_grad():
        expected = cpu(ids)
        assert (gpu(ids.to(device)).cpu() - expected).abs().max() <= 1e-4


def test_the_numerics_class_names_the_device(device: torch.device) -> None:
    assert numerics_class(1).startswith("cuda/")
    assert torch.cuda.get_device_name(device) in numerics_class(1)
