"""CLIP4Clip with mean pooling: all of CLIP is fine-tuned with L_con, including its temperature.

Luo et al., "CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip Retrieval", arXiv 2104.08860.
"""

from structalign.learning.fine_tuning import fine_tuned

METHOD = fine_tuned()
