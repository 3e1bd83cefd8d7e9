import pytest
import torch

from mmada.errors import ContractError
from mmada.model.sequences import collate, lay_out, left_pad, prompt_ids
from tests.tiny import mixed_samples, sample, tiny_tokenizer, tiny_vocab


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory)


def _layout(one, tokenizer, **more):
    options = {"window": 1, "max_length": 200} | more
    return lay_out(one, tokenizer, tiny_vocab(tokenizer), **options)


def test_published_orders(tokenizer):
    v = tiny_vocab(tokenizer)
    by_key = {one.key: one for one in mixed_samples()}
    image = (by_key["a"].codes.reshape(-1).astype(int) + v.num_text).tolist()
    text = tokenizer.encode("a red circle")
    t2i = _layout(by_key["a"], tokenizer)
    assert t2i.ids.tolist() == [v.t2i, v.bos, *text, v.eos, v.soi, *image, v.eoi]
    assert t2i.ids[t2i.maskable].tolist() == image
    lm = _layout(by_key["c"], tokenizer)
    assert lm.ids.tolist() == [v.bos, *tokenizer.encode("one two three four"), v.eos]
    assert lm.maskable.all()
    chat = _layout(by_key["e"], tokenizer)
    assert chat.ids[chat.maskable].tolist() == [*tokenizer.encode("7"), v.eos]
    mmu = _layout(by_key["g"], tokenizer)
    assert mmu.ids[[0, 1, 6, 7]].tolist() == [v.mmu, v.soi, v.eoi, v.bos]
    assert mmu.ids[mmu.maskable].tolist() == [*tokenizer.encode("3"), v.eos]
    r2i = _layout(by_key["i"], tokenizer)
    assert r2i.ids[[0, 1, -6, -1]].tolist() == [v.r2i, v.bos, v.soi, v.eoi]
    assert r2i.maskable[-5:-1].all()
    assert not r2i.maskable[[-1, -6]].any()


def test_rows_begin_with_the_prompt_that_sampling_uses(tokenizer):
    v = tiny_vocab(tokenizer)
    for one in mixed_samples():
        if one.task == "lm":
            continue
        image = v.image_ids(one.codes.reshape(-1)) if one.task == "mmu" else None
        opening = prompt_ids(one.task, one.prompt, image, tokenizer, v)
        layout = _layout(one, tokenizer)
        assert layout.ids[: len(opening)].tolist() == opening
        assert not layout.maskable[: len(opening)].any()
        assert layout.maskable[len(opening)] == (one.task != "x")


def test_the_window_is_filled_with_eos_that_is_learned(tokenizer):
    v = tiny_vocab(tokenizer)
    short, long = (
        sample("s", "chat", "3 + 4", "7"),
        sample("l", "chat", "3 + 4", "one two three four five six"),
    )
    filled = _layout(short, tokenizer, window=6)
    assert filled.ids[filled.maskable].tolist() == [*tokenizer.encode("7"), *[v.eos] * 5]
    assert _layout(long, tokenizer, window=3).ids[-1] == v.eos


def test_dropping_the_condition_empties_t2i_only(tokenizer):
    v = tiny_vocab(tokenizer)
    dropped = _layout(sample("a", "t2i", "a red circle", codes=1), tokenizer, drop_condition=True)
    assert dropped.ids[:4].tolist() == [v.t2i, v.bos, v.eos, v.soi]
    chat = sample("e", "chat", "3 + 4", "7")
    assert (_layout(chat, tokenizer, drop_condition=True).ids == _layout(chat, tokenizer).ids).all()


def test_padding_policies(tokenizer):
    v = tiny_vocab(tokenizer)
    layouts = [_layout(one, tokenizer) for one in mixed_samples()]
    hidden = collate(layouts, v, padding="masked_out")
    seen = collate(layouts, v, padding="eos")
    for row, layout in enumerate(layouts):
        pads = hidden.ids.shape[1] - len(layout.ids)
        assert int((~hidden.attendable[row]).sum()) == pads
        assert int(hidden.maskable[row].sum()) == layout.maskable.sum()
        if layout.task in ("t2i", "r2i"):
            assert torch.equal(seen.attendable[row], hidden.attendable[row])
        else:
            assert seen.attendable[row].all()
            assert int(seen.maskable[row].sum()) == layout.maskable.sum() + pads
        if layout.task == "t2i":
            assert (hidden.ids[row, :pads] == v.ipad).all()
            assert hidden.ids[row, -1] == v.eoi
    assert torch.equal(hidden.is_image, (hidden.ids >= v.num_text))


def test_too_long_rows_are_errors_that_name_the_sample(tokenizer):
    with pytest.raises(ContractError, match="sample long-one"):
        _layout(sample("long-one", "lm", response="one " * 80), tokenizer, max_length=20)
    layout = _layout(sample("long-two", "lm", response="one two three"), tokenizer)
    with pytest.raises(ContractError, match="long-two"):
        collate([layout], tiny_vocab(tokenizer), padding="eos", length=2)


def test_a_picture_task_without_picture_is_refused(tokenizer):
    with pytest.raises(ContractError, match="needs picture codes"):
        _layout(sample("bare", "t2i", "a red circle"), tokenizer)


def test_left_pad_aligns_ends(tokenizer):
    v = tiny_vocab(tokenizer)
    ids, seen = left_pad([[5], [6, 7, 8]], v)
    assert ids.tolist() == [[v.ipad, v.ipad, 5], [6, 7, 8]]
    assert seen.tolist() == [[False, False, True], [True, True, True]]
