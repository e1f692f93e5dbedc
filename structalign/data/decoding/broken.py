"""The error for a video file that can't be decoded."""


class BrokenVideo(Exception):
    """A video can't be decoded. The text is the reason, without the file's name."""
