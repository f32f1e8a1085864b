"""Writing without loss: a file or folder appears whole or not at all.

Everything is written under a temporary name in the same folder, flushed to the disk and renamed.
Whatever goes wrong in between (a bug, a full disk, a power cut), the old file is still there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["atomic_directory", "atomic_path", "check_writable", "replace_file"]


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` when the block ends well.

    Parameters
    ----------
    path : str or path
        Where the file shall be; its folder must exist. An existing file is replaced, a symbolic
        link is followed.

    Yields
    ------
    Path
        An empty file in the same folder; write it and close it within the block.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError, OSError
        If the target cannot be written or the disk is full; the old file is left as it was.
    """
    target = _target(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder; add a file name to it")
    temporary = _temporary(target)
    try:
        with _explained(target):
            temporary.touch(exist_ok=False)
            yield temporary
            _sync(temporary)
            _keep_mode(target, temporary)
            temporary.replace(target)
            _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(whole: Path, path: str | os.PathLike[str]) -> None:
    """Move a finished file of the same disk into place in one step; errors as `atomic_path`.

    Parameters
    ----------
    whole : Path
        The new file.
    path : str or path
        Where it shall be. An existing file is replaced, a symbolic link is followed.
    """
    target = _target(path)
    with _explained(target):
        _sync(whole)
        _keep_mode(target, whole)
        whole.replace(target)
        _sync(target.parent)


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary folder to fill; rename it to `path` when the block ends well.

    Parameters
    ----------
    path : str or path
        Where the folder shall be; its parent must exist. An existing folder is replaced as a
        whole: it is moved aside, and moved back if the new one cannot take its place.

    Yields
    ------
    Path
        An empty folder beside `path`.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, FileExistsError, PermissionError, OSError
        If the target cannot be written or the disk is full; the old folder is left as it was.
    """
    target = _target(path)
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"cannot write the folder {path}: a file has that name")
    temporary, old = _temporary(target), _temporary(target)
    try:
        with _explained(target):
            temporary.mkdir()
            yield temporary
            for entry in sorted(temporary.rglob("*")):
                _sync(entry)
            _sync(temporary)
            _swap(temporary, target, old)
            _sync(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise now what writing `path` would raise later: after a training that is a loss.

    Parameters
    ----------
    path : str or path
        File or folder to be written; it is not touched.

    Raises
    ------
    FileNotFoundError, NotADirectoryError, PermissionError, OSError
        If nothing can be made beside it.
    """
    target = _target(path)
    temporary = _temporary(target)
    try:
        with _explained(target):
            temporary.touch(exist_ok=False)
    finally:
        temporary.unlink(missing_ok=True)


def _swap(temporary: Path, target: Path, old: Path) -> None:
    if not target.exists():
        temporary.rename(target)
        return
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(os.path.realpath(path))
    if not target.parent.exists():
        raise FileNotFoundError(
            f"cannot write {path}: there is no folder {target.parent}; create it first"
        )
    if not target.parent.is_dir():
        raise NotADirectoryError(f"cannot write {path}: {target.parent} is not a folder")
    return target


def _temporary(target: Path) -> Path:
    # the suffix stays last, since writers choose their format by it
    name = f".{target.stem}.{secrets.token_hex(6)}.tmp{target.suffix}"
    return target.with_name(name)


def _keep_mode(old: Path, new: Path) -> None:
    if old.exists():
        new.chmod(old.stat().st_mode & 0o7777)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # some network file systems cannot flush a folder; its files are flushed already
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(target: Path) -> Iterator[None]:
    """Say in plain words what the operating system refused."""
    try:
        yield
    except OSError as error:
        kept = f"{target.name} is as it was before" if target.exists() else "nothing was written"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno,
                f"no space left while writing {target} ({kept}); free some space or write to "
                "another disk",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise PermissionError(
                error.errno,
                f"not allowed to write {target} ({kept}); write to a folder of your own",
            ) from error
        raise
