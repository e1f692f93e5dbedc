"""The one error that a video file can cause."""


class BrokenVideo(Exception):
    """A video that can't be decoded; its text is the reason, without the file's name."""
