"""Trains the tiny CLIP's byte-pair vocabulary, in the format of CLIP's tokenizer."""

import json
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
LENGTH = 32
_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train(texts: Iterable[str], vocabulary: int) -> CLIPTokenizer:
    """Learn a vocabulary from ``texts``. Unknown words are split into pieces, down to bytes."""
    bpe = Tokenizer(models.BPE(end_of_word_suffix=WORD_END, unk_token=END))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(alphabet) - 2,
        initial_alphabet=alphabet,
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    learned = json.loads(bpe.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    # CLIP's order: bytes, bytes that end a word, merges in the order learned, start token, end token.
    tokens = [*alphabet, *(letter + WORD_END for letter in alphabet)]
    tokens += [a + b for a, b in merges]
    tokens = [*dict.fromkeys(tokens), BEGIN, END]
    with TemporaryDirectory() as folder:
        vocab_file, merges_file = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        numbers = {token: number for number, token in enumerate(tokens)}
        vocab_file.write_text(json.dumps(numbers, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
        merges_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        words: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)
    return words
