import pytest
import torch

from mmada.model.generation import Query, generate
from mmada.model.image_sampling import ImageSampling
from mmada.model.text_sampling import TextSampling
from tests.tiny import mixed_samples, tiny_model, tiny_tokenizer, tiny_vocab


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def _generate(tokenizer, task, seed=0, guidance=0.0):
    vocab = tiny_vocab(tokenizer)
    queries = [Query(one.prompt, one.codes) for one in mixed_samples() if one.task == task]
    return generate(
        tiny_model(vocab),
        task,
        queries,
        tokenizer,
        vocab,
        text=TextSampling(8, 8, 8, temperature=1.0),
        image=ImageSampling(4, guidance=guidance),
        num_image_tokens=4,
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("guidance", [0.0, 2.0])
@pytest.mark.parametrize("task", ["t2i", "lm", "chat", "mmu", "r2i"])
def test_every_task_fills_its_windows_and_nothing_else(tokenizer, task, guidance):
    vocab = tiny_vocab(tokenizer)
    out = _generate(tokenizer, task, guidance=guidance)
    assert not (out.ids == vocab.mask).any()
    assert (out.ids[:, out.text] < vocab.num_text).all()
    assert out.codes(vocab).shape == (2, 4 if task in ("t2i", "r2i") else 0)
    assert len(out.texts(tokenizer, vocab)) == 2
    again, other = _generate(tokenizer, task, guidance=guidance), _generate(tokenizer, task, 1, guidance)
    assert torch.equal(out.ids, again.ids)
    assert not torch.equal(out.ids, other.ids)


def test_text_ends_at_the_first_eos(tokenizer):
    vocab = tiny_vocab(tokenizer)
    out = _generate(tokenizer, "chat")
    out.ids[:, out.text] = torch.tensor([*tokenizer.encode("7"), vocab.eos, *tokenizer.encode("one two three")])[:8]
    assert out.texts(tokenizer, vocab) == ["7", "7"]
