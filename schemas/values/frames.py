"""Places of the code that a thread runs at the moment, for log lines about code that does not return."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType

_ROOT = Path(__file__).resolve().parents[2]
_PENSTOCK = tuple(f"{_ROOT / folder}/" for folder in ("engine", "penstock", "schemas", "topics", "workers"))
_LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))


def frame_of(thread_id: int) -> FrameType | None:
    """The innermost frame of a thread; None if it has ended."""
    return sys._current_frames().get(thread_id)  # noqa: SLF001 - the documented way to see another thread


def outward(frame: FrameType | None) -> Iterator[FrameType]:
    """A frame and those that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back


def called_by(code: CodeType, innermost: FrameType | None) -> FrameType | None:
    """The innermost frame that runs `code`; None if there is none."""
    return next((frame for frame in outward(innermost) if frame.f_code is code), None)


def is_own(file: str) -> bool:
    """Whether a file is the user's own code: no library, and no part of Penstock."""
    return not file.startswith((*_LIBRARIES, *_PENSTOCK))


def place(innermost: FrameType | None, caller: FrameType | None) -> str:
    """The innermost line of the user's own code that `caller` called, else of a library; `caller` itself if neither."""
    theirs: list[FrameType] = []
    for frame in outward(innermost):
        if frame is caller:
            break
        if not str(frame.f_globals.get("__name__", "")).startswith("penstock."):
            theirs.append(frame)
    own = [frame for frame in theirs if not frame.f_code.co_filename.startswith(_LIBRARIES)]
    chosen = next(iter(own or theirs), caller)
    if chosen is None:
        return "an unknown line"
    return f"{chosen.f_code.co_filename}:{chosen.f_lineno} in {chosen.f_code.co_qualname}"
