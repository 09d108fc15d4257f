"""The assignments as a course of nbgrader: where the masters lie, and how nbgrader is asked to do something with them.

Runs in the environment of requirements.txt. The notebooks are executed by another Python, that of the book's
environment, which BOOK_PYTHON names.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
RELEASED = (
    HERE / "release"
)  # what students get: kept in the repository, because Colab opens files there alone
MASTERS = {path.stem: path for path in sorted(HERE.glob("[0-9]_*.ipynb"))}
CELL_SECONDS = 20  # a cell that takes longer is interrupted
MOST_LINES = 1000  # of the output of a cell; the rest is cut
CONFIG = f"""\
c = get_config()
c.CourseDirectory.course_id = "residual-networks-measured"
c.ExecutePreprocessor.timeout = {CELL_SECONDS}
c.ExecutePreprocessor.iopub_timeout = 60  # nbclient gives up after four seconds, which a busy machine may need
c.LimitOutput.max_lines = {MOST_LINES}
c.ClearSolutions.code_stub = {{"python": "# YOUR CODE HERE\\nraise NotImplementedError()"}}
"""

os.environ["PATH"] = (
    f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by name
)


class TookTooLongError(Exception):
    """nbgrader was stopped because it took longer than it may."""


def make_course(folder: Path, names: list[str]) -> None:
    """Make a course of some assignments in an empty folder, with their release versions.

    Raises:
        RuntimeError: nbgrader refuses a master; the message is its own.
    """
    (folder / "nbgrader_config.py").write_text(CONFIG)
    kernel = folder / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    python = os.environ.get("BOOK_PYTHON", sys.executable)
    argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"})
    )
    for name in names:
        (folder / "source" / name).mkdir(parents=True)
        shutil.copy2(MASTERS[name], folder / "source" / name / f"{name}.ipynb")
        done = nbgrader(folder, "generate_assignment", name, "--create", seconds=120)
        if done.returncode:
            raise RuntimeError(f"nbgrader cannot release {name}:\n{done.stderr}")


def nbgrader(folder: Path, *arguments: str, seconds: float) -> subprocess.CompletedProcess:
    """Run a command of nbgrader in a course.

    Raises:
        TookTooLongError: it did not end in time. It and all that it started are killed.
    """
    environment = os.environ | {"JUPYTER_PATH": str(folder / "jupyter"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nbgrader", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, start_new_session=True, **pipes
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        raise TookTooLongError(
            f"nbgrader {arguments[0]} took longer than {seconds} seconds"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return subprocess.CompletedProcess(command, process.returncode, out, err)
