"""A short training job that torchrun starts in each process; writes the final weights as safetensors."""

import contextlib
import sys
from pathlib import Path

from safetensors.torch import save_file

from mmada.text_tokenizer import load_tokenizer
from mmada.training.loop import train
from mmada.training.objectives import Objective
from mmada.training.parallel import World, full_state, joined, shard_model
from mmada.unit_store import UnitStore
from tests.tiny import tiny_model, tiny_vocab
from tests.training.jobs import masked_objective, settings
from tests.training.toy_unigrpo import toy


def run(
    tokenizer_folder: Path, state_dir: Path, out: Path, muon: float, stop_after: int, world: World, rl: bool = False
) -> None:
    """Train up to `stop_after` of four steps, by UniGRPO if `rl`, and write the weights."""
    tokenizer = load_tokenizer(tokenizer_folder)
    model = tiny_model(tiny_vocab(tokenizer))
    shard_model(model, world)

    objective: Objective = masked_objective(tokenizer, world, num_parts=2, padding="eos")
    if rl:
        objective = toy(tokenizer, UnitStore(state_dir / "phases"), world=world, num_parts=2)

    class StoppedError(Exception):
        pass

    def stop(run: str, step: int, values: object) -> None:
        if step == stop_after < 4:
            raise StoppedError

    with contextlib.suppress(StoppedError):
        train(
            model,
            objective,
            settings(4, checkpoint_every=2, muon_learning_rate=muon),
            state_dir=state_dir,
            world=world,
            on_metrics=stop,
            publish=lambda step: None,
            label="test",
        )
    state = full_state(model)
    if world.is_first:
        save_file(state, out)


if __name__ == "__main__":
    with joined() as here:
        folders = [Path(folder) for folder in sys.argv[1:4]]
        run(*folders, float(sys.argv[4]), int(sys.argv[5]), here, rl="rl" in sys.argv)
