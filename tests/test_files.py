"""resnet_utils.files: a reader meets the old file or the new one, never half of one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_utils
from resnet_utils.files import atomic


def write_and_fail(path, written, error):
    with atomic(path) as temporary:
        if written is not None:
            temporary.write_bytes(written)
        raise error


def test_a_finished_write_replaces_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_until_the_write_is_finished_a_reader_meets_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
        assert temporary.parent == path.parent  # a rename is atomic only within one file system


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("written", [None, b"", b"half of the new"])
def test_an_error_keeps_the_old_file_and_leaves_nothing_else(tmp_path, error, written):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error):
        write_and_fail(path, written, error)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_where_no_file_was_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="broken"):
        write_and_fail(tmp_path / "file", b"half", ValueError("broken"))
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_the_bytes_reach_the_disk_before_the_rename(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (calls.append("fsync"), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda old, new: (calls.append("replace"), replace(old, new)))
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with open(path, "rb") as reader:  # began before the write: it goes on with the old file
        with atomic(path) as temporary:
            temporary.write_bytes(b"new")
        assert reader.read() == b"old"
    assert calls == ["fsync", "replace"]


def test_a_process_killed_while_it_writes_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    writer = f"""
import os, pathlib, signal
from resnet_utils.files import atomic
with atomic(pathlib.Path({str(path)!r})) as temporary:
    temporary.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    home = Path(resnet_utils.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", writer], cwd=home, check=False).returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
