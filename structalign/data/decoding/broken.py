"""The error for a video file that can't be decoded."""

NO_STREAM = "it has no video stream"


class BrokenVideo(Exception):
    """A video can't be decoded. The text is the reason, without the file's name."""
