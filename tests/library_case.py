"""Small videos and indexes of raw folders for tests, with a tiny random CLIP."""

import json
from pathlib import Path

from tiny import tiny_clip

from structalign.library.folder_index import FolderIndex, begin, refresh
from structalign.library.indexing import Summary


def plain(colour: str, seconds: float = 3, rate: int = 5) -> str:
    """A lavfi source of one colour."""
    return f"color={colour}:size=48x48:rate={rate}:duration={seconds},format=yuv420p"


def clip_folder(folder: Path) -> Path:
    """A folder with a tiny CLIP, its tokenizer and its image normalisation."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tiny_clip().model.save_pretrained(folder)  # type: ignore[operator]
    words = {word: number for number, word in enumerate(["red", "blue", "green", "white", "black", "a"])}
    vocabulary = words | {"<unk>": 37, "<s>": 38, "</s>": 39}
    tokeniser = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokeniser.pre_tokenizer = Whitespace()
    tokeniser.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 38), ("</s>", 39)])
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokeniser, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )
    fast.save_pretrained(folder)
    statistics = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics), encoding="utf-8")
    return folder


def indexed(folder: Path, clip: Path, place: Path) -> tuple[FolderIndex, Summary]:
    """The index of a folder after an update."""
    path = begin([folder], str(clip), place)
    summary = refresh(FolderIndex(path))
    return FolderIndex(path), summary
