"""What the package says it needs is true, is what the environment installs, and is met by Colab."""

import ast
import functools
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COLAB_PYTHON = "3.13"  # googlecolab/backend-info, 2026-08-19
MODULES = sorted((ROOT / "resnet_utils").glob("*.py"))


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """By canonical name, the requirements in the lines of a file; comments are left out."""
    found = [Requirement(line) for line in (line.split("#")[0].strip() for line in lines) if line]
    return {canonicalize_name(r.name): r for r in found}


def file(name: str) -> dict[str, Requirement]:
    return requirements((ROOT / name).read_text().splitlines())


NEEDS = requirements(PROJECT["dependencies"])
INSTALLED_NEEDS = requirements([r for r in importlib.metadata.requires("resnet_utils") if "extra ==" not in r])
COLAB = {name: Version(str(r.specifier).removeprefix("==")) for name, r in file("tests/colab_versions.txt").items()}


@functools.cache
def providers() -> dict[str, set[str]]:
    """Which installed packages bring each module: {"PIL": {"pillow"}, "sklearn": {"scikit-learn"}, …}."""
    found = importlib.metadata.packages_distributions()
    return {module: {canonicalize_name(package) for package in packages} for module, packages in found.items()}


def imported(module: Path) -> set[str]:
    """The top-level names of the modules of other packages that this one imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"resnet_utils"}


@pytest.mark.parametrize(
    "requirement", {str(r): r for r in [*NEEDS.values(), *INSTALLED_NEEDS.values()]}.values(), ids=str
)
def test_every_need_of_the_package_is_met_on_colab_as_it_is(requirement):
    name = canonicalize_name(requirement.name)
    assert name in COLAB, f"add the version on Colab of {name} to tests/colab_versions.txt"
    assert requirement.specifier.contains(COLAB[name])


@pytest.mark.parametrize("name", NEEDS)
def test_the_installed_package_asks_for_what_pyproject_says(name):
    advice = "the installed metadata is old: pip install --no-deps --editable ."
    assert str(INSTALLED_NEEDS.get(name)) == str(NEEDS[name]), advice


def test_the_package_runs_on_colabs_python_and_on_the_oldest_that_readme_promises():
    for stated in (PROJECT["requires-python"], importlib.metadata.metadata("resnet_utils")["Requires-Python"]):
        assert COLAB_PYTHON in SpecifierSet(stated)
        assert "3.11" in SpecifierSet(stated)
        assert "3.10" not in SpecifierSet(stated)


def test_colabs_versions_are_exact_and_say_where_they_come_from():
    text = (ROOT / "tests/colab_versions.txt").read_text()
    assert re.search(r"^# Source: googlecolab/backend-info, .*\d{4}-\d\d-\d\d", text, flags=re.MULTILINE)
    for requirement in file("tests/colab_versions.txt").values():
        (clause,) = requirement.specifier
        assert clause.operator == "=="
        assert Version(clause.version).local is None


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_every_import_is_declared(module):
    for name in imported(module):
        assert providers()[name] & set(NEEDS), (
            f"{module.name} imports {name}: add {providers()[name]} to pyproject.toml"
        )


def test_every_declared_need_is_used():
    used = {package for module in MODULES for name in imported(module) for package in providers()[name]}
    used.add("ipython")  # matplotlib-inline imports it and does not declare it
    assert set(NEEDS) <= used


@pytest.mark.parametrize("name", NEEDS)
def test_the_environment_holds_every_need_in_the_same_range_or_a_narrower_one(name):
    environment = file("requirements.txt")
    assert name in environment
    assert set(NEEDS[name].specifier) <= set(environment[name].specifier)


def test_requirements_are_ranges_with_a_lower_bound():
    for requirement in file("requirements.txt").values():
        operators = {clause.operator for clause in requirement.specifier}
        assert ">=" in operators, f"{requirement} could resolve to a version of any age"
        assert "==" not in operators, f"{requirement} is pinned: it will not resolve on every Python"


def test_d2l_is_pinned_where_it_is_installed_without_its_needs_and_nowhere_else():
    assert [str(r) for r in file("requirements-nodeps.txt").values()] == ["d2l==1.0.3"]
    assert "d2l" not in file("requirements.txt")
    assert "d2l" not in NEEDS
    optional = PROJECT.get("optional-dependencies", {})
    assert not any("d2l" in requirements(lines) for lines in optional.values())


def test_the_wheel_that_colab_installs_holds_the_records_and_the_weights(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "resnet_utils", tmp_path / "resnet_utils", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "wheels", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {f"resnet_utils/recorded/{path.name}" for path in (ROOT / "resnet_utils" / "recorded").iterdir()} <= held
    assert "resnet_utils/recorded/degradation.json" in held
    assert {"resnet_utils/quizzes.toml", "resnet_utils/interactive.js", "resnet_utils/interactive.css"} <= held
    assert wheel.stat().st_size < 9e6
