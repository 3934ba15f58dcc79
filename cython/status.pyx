"""The one place where a native status becomes a Python error."""
import errno
import os

from gridflow import errors
from gridflow._native.core cimport Code, Status


cdef int check(const Status& status) except -1:
    """Raises what the status says; returns 0 if it says nothing."""
    if status.code == Code.kOk:
        return 0
    message = status.message.decode("utf-8", "replace")
    if status.code == Code.kFull:
        raise errors.GridFullError(
            f"no room left in the grid: {message}; what was there stays readable, and writes work again once there is "
            "room"
        )
    if status.code == Code.kAccess:
        raise errors.GridAccessError(message)
    if status.code == Code.kCorrupt:
        offset = status.offset if status.offset >= 0 else None
        raise errors.GridCorruptError(message, os.fsdecode(status.file) or None, offset)
    if status.code == Code.kVersion:
        raise errors.GridVersionError(message, os.fsdecode(status.file) or None)
    if status.code == Code.kInvalid:
        raise errors.SchemaError(message)
    if status.code == Code.kNotFound:
        raise errors.GridNotFoundError(message)
    if status.code == Code.kUnreachable:
        raise errors.GridConnectionError(message)
    if status.code == Code.kGone:
        raise errors.VersionNotFoundError(message)
    if os.strerror(errno.EMFILE) in message:
        raise errors.GridEnvironmentError(f"{message}: allow this process more of them, with ulimit -n")
    raise errors.InternalError(message)
