"""`make book` runs what changed, nothing twice and nothing stale; `make fork` changes the address everywhere."""

import importlib.util
import json
import subprocess
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"book_{name}", ROOT / "book" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def build(tmp_path: Path, monkeypatch) -> ModuleType:
    """book/build.py, working on a tiny book of two notebooks."""
    for variable in ("RESNET_SCALE", "RESNET_EPOCHS", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(variable, raising=False)
    for folder in ("notebooks", "resnet_utils", "book"):
        (tmp_path / folder).mkdir()
    (tmp_path / "resnet_utils" / "models.py").write_text("answer = 42\n")
    (tmp_path / "requirements.txt").write_text("pytest>=8  # a comment\n")
    (tmp_path / "requirements-nodeps.txt").write_text("")
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nchapters:\n- file: notebooks/01_a\n- file: notebooks/02_b\n"
    )
    (tmp_path / "_config.yml").write_text(
        "title: Tiny\nonly_build_toc_files: true\nexecute:\n  execute_notebooks: force\n"
        "repository:\n  url: https://github.com/old/book\n"
    )
    (tmp_path / "book" / "intro.md").write_text("# Tiny\n\nHello.\n")
    write_notebook(tmp_path / "notebooks" / "01_a.ipynb", "print(6 * 7)")
    write_notebook(tmp_path / "notebooks" / "02_b.ipynb", "print('b')")
    module = load("build")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "EXECUTED", tmp_path / "_executed")
    monkeypatch.setattr(module, "MANIFEST", tmp_path / "_executed" / "manifest.json")
    monkeypatch.setattr(module, "SITE_HASH", tmp_path / "_executed" / "site.sha256")
    monkeypatch.setattr(module, "HTML", tmp_path / "_build" / "html")
    monkeypatch.setattr(module, "REQUIREMENTS", (tmp_path / "requirements.txt", tmp_path / "requirements-nodeps.txt"))
    return module


def write_notebook(path: Path, code: str) -> None:
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [
        nbformat.v4.new_markdown_cell(f"# {path.stem}", id="text"),
        nbformat.v4.new_code_cell(code, id="code"),
    ]
    nbformat.write(notebook, path)


def test_a_book_is_executed_once_and_again_only_where_something_changed(build, tmp_path, capfd, monkeypatch) -> None:
    assert build.main() == 0
    assert "executing 2 of 2" in capfd.readouterr().out
    html = (tmp_path / "_build" / "html" / "notebooks" / "01_a.html").read_text()
    assert "42" in html
    assert json.loads((tmp_path / "notebooks" / "01_a.ipynb").read_text())["cells"][1]["outputs"] == []

    monkeypatch.setattr(build.subprocess, "run", lambda *a, **k: pytest.fail("something was run again"))
    assert build.main() == 0
    assert "nothing to execute" in (out := capfd.readouterr().out)
    assert "Site: nothing changed" in out
    monkeypatch.undo()


def test_a_failing_notebook_stops_the_build_and_keeps_the_others_and_the_old_site(build, tmp_path, capfd) -> None:
    write_notebook(tmp_path / "notebooks" / "02_b.ipynb", "raise RuntimeError('told you')")
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("the old site")
    for _ in range(2):  # the second run must not take the failure for a success
        assert build.main() == 1
        out, err = capfd.readouterr()
        assert "told you" in out
        assert "not built" in err
    assert "executing 1 of 2" in out
    assert list(build.read_manifest()) == ["01_a.ipynb"]
    assert not (tmp_path / "_executed" / "notebooks" / "02_b.ipynb").exists()
    assert (tmp_path / "_build" / "html" / "index.html").read_text() == "the old site"


def test_a_warning_of_the_site_fails_every_time_and_keeps_the_old_site(build, tmp_path, monkeypatch) -> None:
    (tmp_path / "book" / "intro.md").write_text("# Tiny\n\n[nowhere](missing.md)\n")
    monkeypatch.setattr(build, "execute", lambda: True)
    executed = tmp_path / "_executed" / "notebooks"
    executed.mkdir(parents=True)
    for path in (tmp_path / "notebooks").iterdir():
        (executed / path.name).write_bytes(path.read_bytes())
    for _ in range(2):
        assert build.main() == 1
        assert not (tmp_path / "_build" / "html").exists()


def change_package(root: Path) -> None:
    (root / "resnet_utils" / "models.py").write_text("answer = 43\n")


def add_module(root: Path) -> None:
    (root / "resnet_utils" / "more.py").write_text("")


def remove_module(root: Path) -> None:
    (root / "resnet_utils" / "models.py").unlink()


def change_requirements(root: Path) -> None:
    (root / "requirements.txt").write_text("pytest>=7\n")


@pytest.mark.parametrize("change", [change_package, add_module, remove_module, change_requirements])
def test_a_change_in_the_package_or_the_requirements_makes_every_notebook_stale(build, tmp_path, change) -> None:
    notebooks = sorted((tmp_path / "notebooks").iterdir())
    before = [build.fingerprint(path) for path in notebooks]
    change(tmp_path)
    after = [build.fingerprint(path) for path in notebooks]
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_a_change_in_one_notebook_makes_that_one_stale(build, tmp_path) -> None:
    first, second = sorted((tmp_path / "notebooks").iterdir())
    before = build.fingerprint(first), build.fingerprint(second)
    write_notebook(first, "print(1)")
    assert build.fingerprint(first) != before[0]
    assert build.fingerprint(second) == before[1]


@pytest.mark.parametrize(("variable", "value"), [("RESNET_SCALE", "full"), ("RESNET_EPOCHS", "1")])
def test_another_scale_makes_a_notebook_stale(build, tmp_path, monkeypatch, variable, value) -> None:
    path = tmp_path / "notebooks" / "01_a.ipynb"
    before = build.fingerprint(path)
    monkeypatch.setenv(variable, value)
    assert build.fingerprint(path) != before


def test_another_version_of_a_required_package_makes_a_notebook_stale(build, tmp_path, monkeypatch) -> None:
    path = tmp_path / "notebooks" / "01_a.ipynb"
    before = build.fingerprint(path)
    monkeypatch.setattr(build.metadata, "version", lambda name: "0.0.1")
    assert build.fingerprint(path) != before


def test_caches_of_python_do_not_make_a_notebook_stale(build, tmp_path) -> None:
    path = tmp_path / "notebooks" / "01_a.ipynb"
    before = build.fingerprint(path)
    (tmp_path / "resnet_utils" / "__pycache__").mkdir()
    (tmp_path / "resnet_utils" / "__pycache__" / "models.pyc").write_bytes(b"x")
    assert build.fingerprint(path) == before


def test_the_site_is_built_with_execution_off_and_in_a_workflow_with_the_address_of_the_fork(
    build, monkeypatch
) -> None:
    assert build.book_config()["execute"]["execute_notebooks"] == "off"
    assert build.book_config()["repository"]["url"] == "https://github.com/old/book"
    monkeypatch.setenv("GITHUB_REPOSITORY", "somebody/fork")
    assert build.book_config()["repository"]["url"] == "https://github.com/somebody/fork"


@pytest.fixture
def fork(tmp_path: Path, monkeypatch) -> ModuleType:
    """book/fork.py, working on a small repository."""
    (tmp_path / "_config.yml").write_text("repository:\n  url: https://github.com/old/book\n")
    (tmp_path / "a.md").write_text("see https://github.com/old/book/issues, not https://github.com/old/bookshelf\n")
    (tmp_path / "untracked.md").write_text("https://github.com/old/book\n")
    subprocess.run("git init -q && git add _config.yml a.md", cwd=tmp_path, shell=True, check=True)
    module = load("fork")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


def test_fork_puts_the_new_address_in_every_tracked_file(fork, tmp_path) -> None:
    assert fork.main("https://github.com/new/name") == 0
    assert "https://github.com/new/name\n" in (tmp_path / "_config.yml").read_text()
    assert (
        tmp_path / "a.md"
    ).read_text() == "see https://github.com/new/name/issues, not https://github.com/old/bookshelf\n"
    assert "old/book" in (tmp_path / "untracked.md").read_text()


@pytest.mark.parametrize(
    "wrong", ["", "new/name", "https://github.com/new", "https://github.com/new/name.git", "https://github.com/a/b c"]
)
def test_fork_refuses_what_is_no_address_and_changes_nothing(fork, tmp_path, capsys, wrong) -> None:
    before = (tmp_path / "a.md").read_text()
    assert fork.main(wrong) == 2
    assert "make fork URL=" in capsys.readouterr().err
    assert (tmp_path / "a.md").read_text() == before
