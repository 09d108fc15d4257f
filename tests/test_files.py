"""resnet_utils.files: a reader meets the old file or the new one, never half of one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import resnet_utils
from resnet_utils import files
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


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_a_living_one_is_left_alone(tmp_path):
    path = tmp_path / "file"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, busy = tmp_path / f".file.{ended.pid}.tmp", tmp_path / f".file.{os.getppid()}.tmp"
    other = tmp_path / f".another file.{ended.pid}.tmp"
    for each in (left, busy, other):
        each.write_bytes(b"half")
    with atomic(path) as temporary:
        temporary.write_bytes(b"new")
    assert sorted(tmp_path.iterdir()) == sorted([path, busy, other])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("file write failed")])
def test_a_write_that_fails_says_what_is_safe_and_what_to_do(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match=r"file could not be written \(.*(No space left|file write failed)") as caught:
        write_and_fail(path, b"half", error)
    assert "still whole. Free some space or choose a folder that can be written" in str(caught.value)
    assert caught.value.__cause__ is error


def test_the_hash_of_the_code_changes_with_any_source_file(tmp_path, monkeypatch):
    (tmp_path / "files.py").write_text("a = 1\n")
    (tmp_path / "table.csv").write_text("a\n")
    monkeypatch.setattr(files, "__file__", str(tmp_path / "files.py"))
    seen = {files.code_sha256()}
    (tmp_path / "table.csv").write_text("b\n")
    assert files.code_sha256() in seen
    (tmp_path / "files.py").write_text("a = 2\n")
    seen.add(files.code_sha256())
    (tmp_path / "more.py").write_text("")
    seen.add(files.code_sha256())
    assert len(seen) == 3


def test_a_folder_is_tried_before_the_work_begins(tmp_path):
    files.check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"file cannot be written .*choose a folder that can"):
        files.check_writable(tmp_path / "file")
