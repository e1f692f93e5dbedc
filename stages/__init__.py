"""The pipeline's stages. One that DVC started ends with it on Linux, else it would write into the next run's outputs.

This stands here, in no stage's list of code, because it acts before the seconds of imports and changes no result.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if sys.platform == "linux" and "DVC_STAGE" in os.environ:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
