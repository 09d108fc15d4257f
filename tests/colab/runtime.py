"""A stand-in for a Colab runtime: its versions, its kernel, a module google.colab, and nothing of this checkout."""

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

CELL_SECONDS = 1200  # a cell that takes longer hangs
# Read by Python as it starts, line by line: a folder with packages, then a statement. A Colab kernel has imported
# google.colab before the first cell; warnings in our own modules are shown, so that a test sees them.
AT_START = """\
{colab_packages}
import warnings, google.colab; warnings.filterwarnings("default", module="resnet_utils")
"""
INSTALLED = """\
import importlib.metadata, json
print(json.dumps([(d.name, d.version) for d in importlib.metadata.distributions()]))
"""


@dataclass
class Run:
    """What came of executing a notebook in a fresh runtime."""

    notebook: nbformat.NotebookNode = field(repr=False)  # with its outputs
    before: set[tuple[str, str]] = field(repr=False)  # the packages, (name, version)
    after: set[tuple[str, str]] = field(default_factory=set, repr=False)
    error: str = ""  # of the cell that failed
    new_conflicts: list[str] = field(default_factory=list)  # lines of `pip check`
    package_file: Path | None = None  # of the module resnet_utils


def publish(checkout: Path, repository: Path) -> None:
    """Make a bare git repository whose branch main holds the files of a checkout as they lie, committed or not."""
    git = ["git", f"--git-dir={repository}", f"--work-tree={checkout}", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    git += ["-c", "commit.gpgsign=false"]
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository)], check=True)
    subprocess.run([*git, "add", "--all"], cwd=checkout, check=True, capture_output=True)
    subprocess.run([*git, "commit", "--quiet", "--no-verify", "--message=as it lies there"], cwd=checkout, check=True)
    subprocess.run([*git, "config", "uploadpack.allowFilter", "true"], check=True)  # pip fetches what it needs alone


def read_published(repository: Path, name: str) -> nbformat.NotebookNode:
    """A notebook as it was published, whatever became of the file in the checkout since."""
    command = ["git", f"--git-dir={repository}", "show", f"main:notebooks/{name}"]
    shown = subprocess.run(command, check=True, capture_output=True, text=True)
    return nbformat.reads(shown.stdout, as_version=4)


class Runtime:
    """An empty environment on top of that of Colab's versions, which is left as it is.

    Args:
        folder: an empty folder for the environment and the notebook's files.
        colab_python: the interpreter of the environment that holds Colab's versions.
        address: of the repository, as the first cells name it.
        repository: what is fetched in its place: a bare repository on this disk.
    """

    def __init__(self, folder: Path, colab_python: Path, address: str, repository: Path) -> None:
        self.content = folder / "content"  # where a notebook runs, as on Colab
        self.content.mkdir()
        self.python = folder / "runtime" / "bin" / "python"
        subprocess.run([colab_python, "-m", "venv", "--without-pip", folder / "runtime"], check=True)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        own, below = (
            Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
            for python in (self.python, colab_python)
        )
        (own / "google" / "colab").mkdir(parents=True)
        (own / "google" / "colab" / "__init__.py").touch()
        (own / "colab.pth").write_text(AT_START.format(colab_packages=below))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESNET_", "PYTHON", "VIRTUAL_ENV", "KERAS"))}
        self.environment = kept | {
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's remark on how Python was built
            # git takes the repository of this disk where it is asked for the published one.
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": address,
        }

    def ask(self, *arguments: str) -> str:
        """What the interpreter of the runtime prints, whatever its exit status."""
        command = [str(self.python), *arguments]
        asked = subprocess.run(
            command, cwd=self.content, env=self.environment, capture_output=True, text=True, check=False
        )
        assert not asked.stderr, asked.stderr
        return asked.stdout

    def installed(self) -> set[tuple[str, str]]:
        """Name and version of every package, also of one that hides another version of it."""
        return {(name, version) for name, version in json.loads(self.ask("-c", INSTALLED))}

    def conflicts(self) -> set[str]:
        """What `pip check` complains about, line by line."""
        return set(self.ask("-m", "pip", "check").splitlines()) - {"No broken requirements found."}

    def add_kernel(self, kernels: Path, name: str) -> None:
        """Describe the kernel of this runtime, under a name, to who looks for kernels in a folder."""
        argv = [str(self.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernels / name).mkdir(parents=True)
        description = {"argv": argv, "display_name": name, "language": "python"}
        (kernels / name / "kernel.json").write_text(json.dumps(description))

    def run(self, notebook: nbformat.NotebookNode, kernel: str) -> Run:
        """Execute a notebook from its first cell to its last, or to one that fails."""
        run = Run(notebook, before=self.installed())
        before = self.conflicts()
        at = {"metadata": {"path": str(self.content)}}
        client = NotebookClient(notebook, timeout=CELL_SECONDS, kernel_name=kernel, resources=at)
        try:
            client.execute(env=self.environment)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            run.error = str(error)
        run.after = self.installed()
        run.new_conflicts = sorted(self.conflicts() - before)
        if any(name == "resnet_utils" for name, _ in run.after):
            run.package_file = Path(self.ask("-c", "import resnet_utils; print(resnet_utils.__file__)").strip())
        return run
