"""The sentences that were searched for lately, encoded as each task."""

from collections import OrderedDict
from collections.abc import Sequence

import torch

from structalign.model.backbone import Tokeniser
from structalign.model.video_text import TextEmbeddings
from structalign.search.encoder import Encoder

RECENT = 64  # sentences whose encodings are cached

Encoded = tuple[dict[int, TextEmbeddings], TextEmbeddings | None]  # by task, and by zero-shot CLIP if needed


class EncodedSentences:
    """Sentences encoded as each of `tasks`, and with `zero_shot` by zero-shot CLIP. Recent ones are cached."""

    def __init__(self, encoder: Encoder, tokeniser: Tokeniser, tasks: Sequence[int], zero_shot: bool):
        self.encoder, self.tokeniser, self.tasks, self.zero_shot = encoder, tokeniser, tasks, zero_shot
        self.recent: OrderedDict[str, Encoded] = OrderedDict()

    def of(self, sentence: str) -> Encoded:
        """The encodings of a sentence."""
        self.read([sentence])
        self.recent.move_to_end(sentence)
        return self.recent[sentence]

    @torch.inference_mode()
    def read(self, sentences: Sequence[str]) -> None:
        """Encode sentences together, unless they are cached."""
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self.recent]
        model = self.encoder.model
        # with padding, a batch's longest sentence changes the others
        alone = model is not None and model.config.words == "with_padding"
        for part in [[sentence] for sentence in fresh] if alone else [fresh] * bool(fresh):
            self._read(part)
        while len(self.recent) > RECENT:
            self.recent.popitem(last=False)

    def _read(self, sentences: list[str]) -> None:
        """Encode sentences together. Each is cut to its length, so that its encoding does not depend on the others."""
        encoder, tokens = self.encoder, self.tokeniser(sentences)
        plain = encoder.zero_shot(tokens) if encoder.model is None or self.zero_shot else None
        texts = (
            encoder.as_each(tokens, self.tasks, plain) if plain is not None else encoder.as_tasks(tokens, self.tasks)
        )
        for row, sentence in enumerate(sentences):
            length = int(tokens.eot[row]) + 1

            def own(text: TextEmbeddings, row: int = row, length: int = length) -> TextEmbeddings:
                one = text[row : row + 1]
                ids = None if one.ids is None else one.ids[:, :length]
                return TextEmbeddings(one.words[:, :length], one.mask[:, :length], one.sentence, ids)

            by_task = dict(zip(self.tasks, map(own, texts), strict=True))
            self.recent[sentence] = by_task, None if plain is None else own(plain)
