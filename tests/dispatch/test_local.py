"""How torchrun is started on one node and on several."""

import pytest

from mmada.dispatch.local import _launcher
from mmada.errors import ParamsError


def test_several_nodes_meet_where_the_batch_script_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMADA_TRAIN_HEAD", "node1:29500")
    command = _launcher(8, 2)
    assert command[0] == "srun"
    assert "--rdzv-endpoint=node1:29500" in command


def test_several_nodes_without_a_place_to_meet_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMADA_TRAIN_HEAD", raising=False)
    assert "--standalone" in _launcher(8, 1)
    with pytest.raises(ParamsError, match="MMADA_TRAIN_HEAD"):
        _launcher(8, 2)
