"""Words to ids: every word keeps a token, and no word passes for a marker."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mkgc_cl.data.tokenizer import MARKERS, HashTokenizer, PretrainedTokenizer
from mkgc_cl.errors import ConfigError

PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "jordan", "won", "##s", "[", "]", "<", ">",
          "/", "s", "o", "sep", "mask")  # fmt: skip


def wordpiece() -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    model = models.WordPiece(vocab=vocabulary, unk_token=names["unk"])
    raw = Tokenizer(model)
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, **{f"{name}_token": token for name, token in names.items()}
    )


def byte_pairs(texts: Sequence[str] = ("the cat sat on the mat",)) -> Any:
    """A tokenizer of RoBERTa's kind, which marks the start of a word by the space before it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=list(names.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(list(texts) * 20, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, **{f"{name}_token": token for name, token in names.items()}
    )


MAKERS = (wordpiece, byte_pairs)


def test_words_become_their_pieces() -> None:
    tokenizer = PretrainedTokenizer(wordpiece())
    encoded = tokenizer.encode_words(["Jordans", "won", "xyz"])
    assert encoded == [[5, 7], [6], [1]]
    assert (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id) == (2, 3, 0)


@pytest.mark.parametrize("word", ["\ufe0f", "\u200b", "\u200d", "\ufffd", "\xad", ""])
def test_a_word_that_maps_to_nothing_becomes_unknown(word: str) -> None:
    """The released code dropped such words, and every tag behind them slipped."""
    tokenizer = PretrainedTokenizer(wordpiece())
    assert tokenizer.encode_words(["won", word, "won"]) == [[6], [1], [6]]


@pytest.mark.parametrize("make", MAKERS)
def test_markers_are_new_ids_at_the_end(make: Any) -> None:
    raw = make()
    size = len(raw)
    tokenizer = PretrainedTokenizer(raw)
    assert tokenizer.marker_ids == tuple(range(size, size + 4))
    assert tokenizer.vocabulary == size + 4
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}
    assert special.isdisjoint(tokenizer.marker_ids)


def test_markers_do_not_take_over_robertas_own_tokens() -> None:
    raw = byte_pairs()
    tokenizer = PretrainedTokenizer(raw)
    names = raw.convert_ids_to_tokens(list(tokenizer.marker_ids))
    assert names == ["[<s>]", "[</s>]", "<o>", "</o>"]
    assert tokenizer.cls_id == 0


def test_punctuation_adds_no_id_and_must_be_in_the_vocabulary() -> None:
    raw = byte_pairs()
    size = len(raw)
    tokenizer = PretrainedTokenizer(byte_pairs(["see @ me # now"]), markers="punctuation")
    assert tokenizer.vocabulary == len(byte_pairs(["see @ me # now"]))
    at, sharp = (ids[0] for ids in tokenizer.encode_words(["@", "#"]))
    assert tokenizer.marker_ids == (at, at, sharp, sharp)
    with pytest.raises(ConfigError, match="'@' or '#' is no token"):
        PretrainedTokenizer(raw, markers="punctuation")  # two bytes each: a space and the sign
    assert len(raw) == size
    with pytest.raises(ConfigError, match="'@' or '#' is no token"):
        PretrainedTokenizer(wordpiece(), markers="punctuation")


@pytest.mark.parametrize("make", MAKERS)
def test_text_cannot_pass_for_a_special_token(make: Any) -> None:
    """A tweet with the word ``[SEP]`` or ``<s>`` is text: it ends no sample, marks no entity."""
    tokenizer = PretrainedTokenizer(make())
    words = [*MARKERS, "[<s>]", "[</s>]", "[SEP]", "[CLS]", "[PAD]", "[MASK]", "<pad>", "<mask>"]
    forbidden = {*tokenizer.marker_ids, tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}
    for word, ids in zip(words, tokenizer.encode_words(words), strict=True):
        assert forbidden.isdisjoint(ids), word


def test_words_of_byte_pairs_are_words_of_a_running_text() -> None:
    raw = byte_pairs()
    running = raw("so the cat sat", add_special_tokens=False)["input_ids"]
    encoded = PretrainedTokenizer(raw).encode_words(["the", "cat", "sat"])
    assert running[-3:] == list(itertools.chain.from_iterable(encoded))


@cache
def shared() -> PretrainedTokenizer:
    return PretrainedTokenizer(wordpiece())


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.text(max_size=6), min_size=1, max_size=6))
def test_one_list_a_word_and_no_word_feels_another(words: list[str]) -> None:
    for tokenizer in (shared(), HashTokenizer(buckets=50)):
        encoded = tokenizer.encode_words(words)
        assert len(encoded) == len(words)
        assert all(encoded)
        assert encoded == [tokenizer.encode_words([word])[0] for word in words]
        assert all(0 <= piece < tokenizer.vocabulary for ids in encoded for piece in ids)


@given(st.lists(st.text(max_size=8), max_size=8))
def test_hashing_is_crc32_of_the_lower_case(words: list[str]) -> None:
    tokenizer = HashTokenizer(buckets=11)
    expected = [[7 + zlib.crc32(word.lower().encode()) % 11] for word in words]
    assert tokenizer.encode_words(words) == expected


def test_hashing_keeps_its_special_ids_apart() -> None:
    tokenizer = HashTokenizer(buckets=3)
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id, *tokenizer.marker_ids}
    assert len(special) == 7
    assert tokenizer.vocabulary == 10
    words = [ids[0] for ids in tokenizer.encode_words([str(i) for i in range(100)])]
    assert set(words) == {7, 8, 9}


def test_hashing_spreads_words_evenly() -> None:
    """2000 words over 20 buckets: Binomial(2000, 1/20), mean 100, sd 9.7; 5 sd."""
    tokenizer = HashTokenizer(buckets=20)
    ids = [ids[0] for ids in tokenizer.encode_words([f"word{i}" for i in range(2000)])]
    counts = [ids.count(7 + bucket) for bucket in range(20)]
    assert all(abs(count - 100) < 49 for count in counts)
