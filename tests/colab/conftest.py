"""Each notebook, executed in a Colab runtime of its own. `make colab` says which Python holds Colab's versions."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from runtime import Run, Runtime, publish, read_published

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def colab_python() -> Path:
    """The interpreter of the environment that holds Colab's versions."""
    if "COLAB_PYTHON" not in os.environ:
        pytest.skip("the notebooks are run with Colab's versions by: make colab")
    return (ROOT / os.environ["COLAB_PYTHON"]).absolute()


@pytest.fixture(scope="session")
def running(request, colab_python, tmp_path_factory) -> Iterator[dict[str, Future[Run]]]:
    """The notebooks that the chosen tests look at, by name, as many at once as there are cores."""
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    folder = tmp_path_factory.mktemp("colab")
    publish(ROOT, folder / "book.git")

    def execute(name: str) -> Run:
        kernel = Path(name).stem.lower()
        (folder / kernel).mkdir()
        runtime = Runtime(folder / kernel, colab_python, address, folder / "book.git")
        runtime.add_kernel(folder / "jupyter" / "kernels", kernel)
        return runtime.run(read_published(folder / "book.git", name), kernel)

    chosen = sorted({i.callspec.params["ran"] for i in request.session.items if "ran" in i.fixturenames})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(cores) as pool:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))  # where kernels are looked for
        yield {name: pool.submit(execute, name) for name in chosen}


@pytest.fixture
def ran(request, running) -> Run:
    """What came of the notebook that the parameter names."""
    return running[request.param].result()
