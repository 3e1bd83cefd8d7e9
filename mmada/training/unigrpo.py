"""UniGRPO (arXiv:2505.15809): policy gradients for a masked-diffusion model, by reward differences within
groups.

An iteration samples groups of answers (phase 1), scores them (phase 2), and makes `inner_updates` steps
(phase 3). Shapes: R rollouts, P prompts, G answers per prompt, L tokens, U inner updates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmada.model.flops import Work
from mmada.model.losses import Vocabulary, token_log_probs
from mmada.model.masking import corrupt
from mmada.model.sequences import Row
from mmada.model.transformer import Transformer
from mmada.rewards.scoring import Scorer
from mmada.training.likelihoods import Estimator, NoiseRule, Views
from mmada.training.objectives import Material, work_of
from mmada.training.parallel import whole_weights
from mmada.training.phases import Phases, Reward, RewardWeights, answered, rewarded
from mmada.training.policy_gradient import Advantage, Divergence, clipped_surrogate, groups_alike
from mmada.training.rollouts import DecodePictures, Group, Rollouts, RolloutSettings, join, sample_group
from mmada.vocab import Vocab

OnAnswers = Callable[[Sequence[Group], Sequence[Sequence[Reward]], Advantage], None]


@dataclass(frozen=True)
class UniGrpoSettings:
    """Choices of UniGRPO; those that the paper leaves open are all explicit here.

    `kl_reference`: "init" is the model the stage started from, "old" the policy that sampled.
    """

    rollouts: RolloutSettings
    noise: NoiseRule
    estimator: Estimator
    advantage: Advantage
    clip: float
    kl_weight: float
    divergence: Divergence
    kl_reference: Literal["init", "old"]
    weights: RewardWeights
    vocabulary: Vocabulary


@dataclass(frozen=True)
class UniGrpo:
    """The objective. `material.rows(i)` are the prompts of iteration i; `phases` are the run's own.

    `initial`: the frozen model that the stage started from, needed when the KL reference is "init". `log` is shown the
    answers of every iteration.
    """

    material: Material
    settings: UniGrpoSettings
    scorer: Scorer
    phases: Phases
    decode_pictures: DecodePictures | None
    initial: Transformer | None
    log: OnAnswers
    _iterations: dict[int, "_Iteration"] = field(default_factory=dict, init=False, repr=False)
    """The one under way: its later updates need what was made before its first."""

    @property
    def steps_per_iteration(self) -> int:
        """Phases are cut only between iterations."""
        return self.settings.noise.updates

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Loss parts, shares, and mean reward by task (or corpus with rewards of its own) and name."""
        rewards = [
            f"reward/{label}/{name}"
            for label, weights in self.settings.weights.labelled().items()
            for name in ("total", *weights)
        ]
        return (
            "loss/policy",
            "kl",
            "clip_share",
            "zero_variance_groups",
            "unscored_answers",
            "answer_tokens",
            *rewards,
        )

    def samples(self, step: int) -> tuple[str, ...]:
        """Keys of the prompts of the step's iteration."""
        return tuple(self.material.keys(step // self.steps_per_iteration))

    def parts(self, model: Transformer, step: int) -> list["_PolicyPart"]:
        """Micro-batches of one inner update; the first of an iteration goes through the phases before it."""
        number, update = divmod(step, self.steps_per_iteration)
        if number not in self._iterations:
            self._iterations.clear()
            self._iterations[number] = self._begin(model, number)
        iteration = self._iterations[number]
        chunks = np.array_split(np.arange(len(iteration.advantages)), self.material.num_parts)
        return [self._part(iteration, update, torch.from_numpy(rows), model.device) for rows in chunks]

    def _begin(self, model: Transformer, number: int) -> "_Iteration":
        """Everything that an iteration needs before any weight moves."""
        material, settings = self.material, self.settings
        rows = self._own_rows(number)
        with whole_weights(model, material.world):
            groups = answered(rows, partial(self._sample, model, number), self.phases)
        rewards = rewarded(groups, settings.weights, self.scorer, self.phases, self.decode_pictures)
        totals = np.array([[reward.total for reward in group] for group in rewards])
        self.log(groups, rewards, settings.advantage)
        rollouts = join(groups, material.vocab)
        epochs = [row.epoch for row in rows for _ in range(settings.rollouts.group_size)]
        views = settings.estimator(rollouts, epochs, settings.noise, seed=material.seed)
        old = self._log_probs(model, rollouts, views)
        reference = old
        if settings.kl_reference == "init":
            assert self.initial is not None, "the KL reference `init` needs the initial model"
            reference = self._log_probs(self.initial, rollouts, views)
        return _Iteration(
            rollouts,
            views,
            old,
            reference,
            torch.from_numpy(settings.advantage(totals)).float().flatten(),
            self._logged(groups, rewards, groups_alike(totals)),
        )

    def _own_rows(self, number: int) -> list[Row]:
        """This process's prompts, all of which some reward can judge."""
        rows = list(self.material.rows(number))
        assert rows, "an iteration needs a prompt for every process"
        for row in rows:
            self.settings.weights.of(row.sample)
        return rows

    def _sample(self, model: Transformer, number: int, row: Row) -> Group:
        material = self.material
        return sample_group(
            model, number, row, self.settings.rollouts, material.tokenizer, material.vocab, seed=material.seed
        )

    @torch.no_grad()
    def _log_probs(self, model: Transformer, rollouts: Rollouts, views: Views) -> Float[Tensor, "U R L"]:
        """Log-probabilities of the scored tokens, in micro-batches of the training step's size."""
        device, vocab, batch = model.device, self.material.vocab, rollouts.batch
        updates = []
        for hidden, scored in zip(views.hidden, views.scored, strict=True):
            pieces = []
            for rows in np.array_split(np.arange(len(scored)), self.material.num_parts):
                ids = batch.ids[rows].to(device)
                x_t = corrupt(ids, hidden[rows].to(device), vocab.mask)
                states = model.hidden_states(x_t, batch.attendable[rows].to(device))
                target = scored[rows].to(device)
                pieces.append(
                    token_log_probs(model, states, ids, target, vocab, vocabulary=self.settings.vocabulary).cpu()
                )
            updates.append(torch.cat(pieces))
        return torch.stack(updates)

    def _part(
        self, iteration: "_Iteration", update: int, rows: Int[Tensor, "r"], device: torch.device
    ) -> "_PolicyPart":
        batch, vocab, vocabulary = iteration.rollouts.batch, self.material.vocab, self.settings.vocabulary
        ids, attendable, scored = batch.ids[rows], batch.attendable[rows], iteration.views.scored[update][rows]
        return _PolicyPart(
            x_t=corrupt(ids, iteration.views.hidden[update][rows], vocab.mask).to(device),
            x0=ids.to(device),
            attendable=attendable.to(device),
            is_target=scored.to(device),
            old=iteration.old[update][rows].to(device),
            reference=iteration.reference[update][rows].to(device),
            advantages=iteration.advantages[rows].to(device),
            logged=iteration.logged[rows].sum(0).to(device),
            work=work_of(ids.shape, ids, attendable, scored, vocab, vocabulary),
            settings=self.settings,
            vocab=vocab,
        )

    def _logged(
        self, groups: Sequence[Group], rewards: Sequence[Sequence[Reward]], alike: Bool[np.ndarray, "P"]
    ) -> Float[Tensor, "R n 2"]:
        """(sum, count) of the metrics that are known before the update, per rollout."""
        names, table = self.metric_names, []
        for group, own, is_alike in zip(groups, rewards, alike, strict=True):
            label = self.settings.weights.label(group.row.sample)
            for number, reward in enumerate(own):
                values = {
                    "zero_variance_groups": float(is_alike),
                    "unscored_answers": float(not reward.is_scored),
                    "answer_tokens": float(group.rollouts.batch.maskable[number].sum()),
                    f"reward/{label}/total": reward.total,
                    **{f"reward/{label}/{name}": value for name, value in reward.parts.items()},
                }
                table.append([[values.get(name, 0.0), float(name in values)] for name in names])
        return torch.tensor(table)


@dataclass(frozen=True)
class _Iteration:
    rollouts: Rollouts
    views: Views
    old: Float[Tensor, "U R L"]
    reference: Float[Tensor, "U R L"]
    advantages: Float[Tensor, "R"]
    logged: Float[Tensor, "R n 2"]


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
        settings = self.settings
        hidden = model.hidden_states(self.x_t, self.attendable)
        log_probs = token_log_probs(model, hidden, self.x0, self.is_target, self.vocab, vocabulary=settings.vocabulary)
        log_ratio = (log_probs - self.old) * self.is_target
        per_row = self.is_target.sum(1).clamp(min=1)
        gain = (clipped_surrogate(log_ratio, self.advantages, settings.clip) * self.is_target).sum(1) / per_row
        kl = (settings.divergence(log_probs, self.reference) * self.is_target).sum(1) / per_row
        loss = (settings.kl_weight * kl - gain).sum() / totals[0]
        clipped = ((log_ratio.exp() - 1).abs() > settings.clip).float() * self.is_target
        rows = float(len(self.x0))
        sums = [
            -float(gain.detach().sum()),
            float(kl.detach().sum()),
            float((clipped.sum(1) / per_row).sum()),
        ]
        metrics = self.logged.clone()
        metrics[: len(sums)] = torch.tensor([[value, rows] for value in sums], device=metrics.device)
        return loss, metrics
