"""X-Pool: a caption pools a video's frames by learned attention. All of CLIP is fine-tuned with it.

Gorti et al., "X-Pool: Cross-Modal Language-Video Attention for Text-Video Retrieval", CVPR 2022, arXiv 2203.15086.
"""

from structalign.learning.fine_tuning import fine_tuned

METHOD = fine_tuned(modules=("tower", "pooling"), trains=("tower", "pooling"), similarity="pooled")
