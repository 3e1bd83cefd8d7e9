"""UniGRPO (arXiv:2505.15809): policy gradients for a masked-diffusion model, by reward differences within
groups.

An iteration samples groups of answers (phase 1), scores them (phase 2), and makes `inner_updates` steps
(phase 3). The likelihood of an answer is that of its masked tokens, with the question always visible, at one
share of masking per inner update; the shares are spread over [0, 1], so that all noise levels are trained.
Shapes: R rollouts, G per group, L tokens, U inner updates.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.contracts.sample import TASKS, Sample, Task
from mmada.errors import ContractError
from mmada.model.flops import Work
from mmada.model.losses import Vocabulary, token_log_probs
from mmada.model.masking import corrupt, mask_by_count, token_dice, uniforms
from mmada.model.transformer import Transformer
from mmada.rewards import Reward
from mmada.training.objectives import Material, work_of
from mmada.training.policy_gradient import (
    NUM_TIMES,
    Advantage,
    NoiseSpacing,
    clipped_surrogate,
    group_advantages,
    k3_divergence,
    noise_times,
)
from mmada.training.rollouts import (
    DecodePictures,
    RolloutPhase,
    Rollouts,
    RolloutSettings,
    pack_phase,
    rollout_keys,
    sample_rollouts,
    score_rollouts,
    unpack_phase,
)
from mmada.unit_store import unit_key
from mmada.vocab import Vocab


class Store(Protocol):
    """Where phases are kept: `mmada.unit_store.UnitStore`, or a dictionary in tests."""

    def get(self, key: str) -> bytes | None:
        """Bytes under `key`, None when absent."""

    def put(self, key: str, data: bytes) -> None:
        """Keep bytes under `key`."""


@dataclass(frozen=True)
class UniGrpoSettings:
    """Choices of UniGRPO that the paper leaves open are all explicit here.

    `kl_reference`: "init" is the model the stage started from, "old" the policy that sampled.
    `reward_weights`: task -> reward -> weight.
    """

    rollouts: RolloutSettings
    inner_updates: int
    spacing: NoiseSpacing
    clip: float
    kl_weight: float
    kl_reference: Literal["init", "old"]
    reward_weights: Mapping[Task, Mapping[str, float]]
    vocabulary: Vocabulary


@dataclass(frozen=True)
class UniGrpo:
    """The objective. `material.rows(i)` are the prompts of iteration i; `run` names the run in the store.

    `initial`: the frozen model that the stage started from, needed when the KL reference is "init".
    """

    material: Material
    settings: UniGrpoSettings
    rewards: Mapping[str, Reward]
    store: Store
    run: str
    decode_pictures: DecodePictures | None
    initial: Transformer | None
    advantage: Advantage = field(default=group_advantages)

    @property
    def steps_per_iteration(self) -> int:
        """Phases are cut only between iterations."""
        return self.settings.inner_updates

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Loss parts, shares, and mean reward by task and name."""
        return (
            "loss/policy",
            "kl",
            "clip_share",
            "zero_variance_groups",
            "answer_tokens",
            *self._reward_names(),
        )

    def _reward_names(self) -> tuple[str, ...]:
        weights = self.settings.reward_weights
        return tuple(f"reward/{task}/{name}" for task in TASKS if task in weights for name in ("total", *weights[task]))

    def samples(self, step: int) -> tuple[str, ...]:
        """Keys of the prompts of the step's iteration."""
        return tuple(self.material.keys(step // self.settings.inner_updates))

    def parts(self, model: Transformer, step: int) -> list["_PolicyPart"]:
        """Micro-batches of one inner update; the first of an iteration makes the two phases before it."""
        iteration, update = divmod(step, self.settings.inner_updates)
        samples = [row.sample for row in self.material.rows(iteration)]
        for sample in samples:
            if sample.task not in self.settings.reward_weights:
                raise ContractError(f"sample {sample.key}: unigrpo.rewards has no entry for task {sample.task!r}")
        phase = self._rollout_phase(model, samples, iteration)
        scores = self._reward_phase(phase.rollouts, samples, iteration)
        totals = np.array([sum(parts.values()) for parts in scores])
        groups = totals.reshape(len(samples), -1)
        advantages = torch.from_numpy(self.advantage(groups)).float().flatten()
        flat = np.repeat((groups.std(1) <= 1e-8).astype(float), groups.shape[1])
        logged = self._logged(phase.rollouts, scores, flat)
        chunks = np.array_split(np.arange(len(scores)), self.material.num_parts)
        return [self._part(phase, update, torch.from_numpy(rows), advantages, logged, model.device) for rows in chunks]

    def _part(
        self,
        phase: RolloutPhase,
        update: int,
        rows: Int[Tensor, "r"],
        advantages: Float[Tensor, "R"],
        logged: Float[Tensor, "R n 2"],
        device: torch.device,
    ) -> "_PolicyPart":
        batch, vocab = phase.rollouts.batch, self.material.vocab
        is_masked = phase.is_masked[update][rows]
        hidden = is_masked | phase.rollouts.beyond[rows]
        vocabulary = self.settings.vocabulary
        return _PolicyPart(
            x_t=corrupt(batch.ids[rows], hidden, vocab.mask).to(device),
            x0=batch.ids[rows].to(device),
            attendable=batch.attendable[rows].to(device),
            is_target=is_masked.to(device),
            old=phase.old[update][rows].to(device),
            reference=phase.reference[update][rows].to(device),
            advantages=advantages[rows].to(device),
            logged=logged[rows].sum(0).to(device),
            work=work_of(batch.ids[rows].shape, batch.ids[rows], batch.attendable[rows], is_masked, vocab, vocabulary),
            settings=self.settings,
            vocab=vocab,
        )

    def _rollout_phase(self, model: Transformer, samples: Sequence[Sample], iteration: int) -> RolloutPhase:
        key = self._key("rollouts", iteration)
        stored = self.store.get(key)
        if stored is not None:
            return unpack_phase(stored, rollout_keys(samples, self.settings.rollouts.group_size))
        material, settings = self.material, self.settings
        seed = int(uniforms([key], [iteration], seed=material.seed, purpose="rollouts", count=1)[0, 0] * 2**53)
        generator = torch.Generator(model.device).manual_seed(seed)
        rollouts = sample_rollouts(
            model, samples, settings.rollouts, material.tokenizer, material.vocab, generator=generator
        )
        is_masked = self._masks(rollouts, samples, iteration)
        old = torch.stack([self._log_probs(model, rollouts, one) for one in is_masked])
        reference = old.clone()
        if settings.kl_reference == "init":
            assert self.initial is not None, "the KL reference `init` needs the initial model"
            reference = torch.stack([self._log_probs(self.initial, rollouts, one) for one in is_masked])
        phase = RolloutPhase(rollouts, is_masked, old, reference)
        self.store.put(key, pack_phase(phase))
        return phase

    def _masks(self, rollouts: Rollouts, samples: Sequence[Sample], iteration: int) -> Bool[Tensor, "U R L"]:
        """What each inner update masks: one noise time per prompt and update, tokens by lot."""
        settings, seed, batch = self.settings, self.material.seed, rollouts.batch
        keys = [sample.key for sample in samples]
        starts = uniforms(keys, [iteration] * len(keys), seed=seed, purpose="noise times", count=1)[:, 0]
        times = np.array([noise_times(start, settings.inner_updates, settings.spacing) for start in starts])
        rates = torch.from_numpy(times / NUM_TIMES).float().repeat_interleave(settings.rollouts.group_size, 0)
        epochs = [iteration] * len(batch.keys)
        masks = []
        for update in range(settings.inner_updates):
            dice = token_dice(batch, epochs, seed=seed, purpose=f"tokens {update}")
            masks.append(mask_by_count(batch.maskable, rates[:, update], dice)[0])
        return torch.stack(masks)

    @torch.no_grad()
    def _log_probs(
        self, model: Transformer, rollouts: Rollouts, is_masked: Bool[Tensor, "R L"]
    ) -> Float[Tensor, "R L"]:
        """Log-probabilities of the masked tokens, in micro-batches of the training step's size."""
        pieces = []
        device, vocab = model.device, self.material.vocab
        for rows in np.array_split(np.arange(len(is_masked)), self.material.num_parts):
            batch = rollouts.batch
            hidden = is_masked[rows] | rollouts.beyond[rows]
            ids = batch.ids[rows].to(device)
            states = model.hidden_states(corrupt(ids, hidden.to(device), vocab.mask), batch.attendable[rows].to(device))
            target = is_masked[rows].to(device)
            log_probs = token_log_probs(model, states, ids, target, vocab, vocabulary=self.settings.vocabulary)
            pieces.append(log_probs.cpu())
        return torch.cat(pieces)

    def _reward_phase(self, rollouts: Rollouts, samples: Sequence[Sample], iteration: int) -> list[dict[str, float]]:
        key = self._key("rewards", iteration)
        stored = self.store.get(key)
        if stored is not None:
            scores: list[dict[str, float]] = json.loads(stored)
            return scores
        scores = score_rollouts(
            rollouts,
            samples,
            self.rewards,
            self.settings.reward_weights,
            tokenizer=self.material.tokenizer,
            vocab=self.material.vocab,
            decode_pictures=self.decode_pictures,
        )
        self.store.put(key, json.dumps(scores, sort_keys=True).encode())
        return scores

    def _key(self, phase: str, iteration: int) -> str:
        world = self.material.world
        return unit_key("unigrpo", self.run, phase, iteration, world.rank, world.size)

    def _logged(
        self, rollouts: Rollouts, scores: Sequence[Mapping[str, float]], flat: Float[np.ndarray, "R"]
    ) -> Float[Tensor, "R n 2"]:
        """(sum, count) of the metrics that are known before the update, per rollout."""
        names = self.metric_names
        table = torch.zeros(len(scores), len(names), 2)
        for row, parts in enumerate(scores):
            task = TASKS[int(rollouts.batch.task[row])]
            values = {
                "zero_variance_groups": float(flat[row]),
                "answer_tokens": float(rollouts.batch.maskable[row].sum()),
                f"reward/{task}/total": sum(parts.values()),
                **{f"reward/{task}/{name}": value for name, value in parts.items()},
            }
            for name, value in values.items():
                table[row, names.index(name)] = torch.tensor([value, 1.0])
        return table


@dataclass(frozen=True)
class _PolicyPart:
    x_t: Int[Tensor, "r L"]
    x0: Int[Tensor, "r L"]
    attendable: Bool[Tensor, "r L"]
    is_target: Bool[Tensor, "r L"]
    old: Float[Tensor, "r L"]
    reference: Float[Tensor, "r L"]
    advantages: Float[Tensor, "r"]
    logged: Float[Tensor, "n 2"]
    work: Work
    settings: UniGrpoSettings
    vocab: Vocab

    @property
    def denominators(self) -> Float[Tensor, "1"]:
        """Number of rollouts: every answer counts alike."""
        return torch.tensor([float(len(self.x0))], device=self.x0.device)

    def loss(self, model: Transformer, totals: Float[Tensor, "1"]) -> tuple[Float[Tensor, ""], Float[Tensor, "n 2"]]:
        hidden = model.hidden_states(self.x_t, self.attendable)
        log_probs = token_log_probs(
            model, hidden, self.x0, self.is_target, self.vocab, vocabulary=self.settings.vocabulary
        )
        log_ratio = (log_probs - self.old) * self.is_target
        per_row = self.is_target.sum(1).clamp(min=1)
        gain = (clipped_surrogate(log_ratio, self.advantages, self.settings.clip) * self.is_target).sum(1) / per_row
        kl = (k3_divergence(log_probs, self.reference) * self.is_target).sum(1) / per_row
        loss = (self.settings.kl_weight * kl - gain).sum() / totals[0]
        clipped = ((log_ratio.exp() - 1).abs() > self.settings.clip).float() * self.is_target
        rows = float(len(self.x0))
        sums = [
            -float(gain.detach().sum()),
            float(kl.detach().sum()),
            float((clipped.sum(1) / per_row).sum()),
        ]
        metrics = self.logged.clone()
        metrics[: len(sums)] = torch.tensor([[value, rows] for value in sums], device=metrics.device)
        return loss, metrics
