"""A plain float32 implementation of the released computation: the baseline of the benchmarks.

Every step runs the whole vision tower on every pair's video. From task 2 on it also runs the teacher's towers on the
same batch. As in the released code, training computes similarities in a loop over pairs. Evaluation computes them in
a loop over captions, with one batched product over all videos. Of the library it only uses a model's weights.
"""

from benchmarks.plain.images import load_frames, load_random_crop
from benchmarks.plain.ranks import Floats, Integers, fused, rank
from benchmarks.plain.similarities import of_pair, sentence_video, word_frame_by_caption, word_frame_by_pair
from benchmarks.plain.towers import Plan, Weights, encode_captions, weights_of
from benchmarks.plain.training import Batch, Group, Training

__all__ = [
    "Batch",
    "Floats",
    "Group",
    "Integers",
    "Plan",
    "Training",
    "Weights",
    "encode_captions",
    "fused",
    "load_frames",
    "load_random_crop",
    "of_pair",
    "rank",
    "sentence_video",
    "weights_of",
    "word_frame_by_caption",
    "word_frame_by_pair",
]
