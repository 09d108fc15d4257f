"""The workflows for a copy on GitHub: they run our own commands, may do no more than they must, and end."""

import re
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yml"))}
JOBS = {f"{name} {job}": body for name, workflow in WORKFLOWS.items() for job, body in workflow["jobs"].items()}
STEPS = [step for job in JOBS.values() for step in job["steps"]]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
ON = True  # how YAML 1.1 reads the key `on`

each_workflow = pytest.mark.parametrize("workflow", WORKFLOWS.values(), ids=WORKFLOWS)
each_job = pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)


def steps_of(name: str) -> list[dict]:
    return [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]


def commands_of(name: str) -> list[str]:
    return [step["run"] for step in steps_of(name) if "run" in step]


def with_action(action: str) -> list[dict]:
    return [step for step in STEPS if step.get("uses", "").startswith(f"{action}@")]


def test_there_is_one_for_tests_one_for_notebooks_and_one_for_pages():
    assert set(WORKFLOWS) == {"test", "notebooks", "pages"}


def test_every_change_is_held_to_the_two_commands_of_the_readme_and_opens_the_pages_in_a_browser():
    assert commands_of("test") == ["make book", "make test"]
    assert {"push", "pull_request"} <= set(WORKFLOWS["test"][ON])
    assert WORKFLOWS["test"]["jobs"]["test"]["env"]["RESNET_BROWSER"] == "required"


def test_each_week_the_notebooks_run_afresh_with_the_newest_versions_and_with_those_of_colab():
    assert {"make book", "make colab"} <= set(commands_of("notebooks"))
    (when,) = WORKFLOWS["notebooks"][ON]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", when["cron"])
    assert "workflow_dispatch" in WORKFLOWS["notebooks"][ON]
    assert not [step for step in steps_of("notebooks") if "cache" in step.get("uses", "") + str(step.get("with", {}))]


def test_the_colab_job_has_the_python_of_colab():
    setup = next(s for s in WORKFLOWS["notebooks"]["jobs"]["colab"]["steps"] if "setup-python" in s.get("uses", ""))
    assert f"Python there is {setup['with']['python-version']}." in (ROOT / "tests/colab_versions.txt").read_text()


def test_the_pages_that_are_published_are_those_that_the_command_builds():
    commands = commands_of("pages")
    (upload,) = with_action("actions/upload-pages-artifact")
    assert commands == ["make book"]
    assert upload["with"]["path"] == "_build/html"
    assert WORKFLOWS["pages"][ON]["push"]["branches"] == ["main"]
    assert WORKFLOWS["pages"]["jobs"]["deploy"]["needs"] == "build"


@pytest.mark.parametrize("command", sorted({step["run"] for step in STEPS if "run" in step}))
def test_a_command_is_a_target_of_the_makefile_or_makes_room(command):
    target = re.fullmatch(r"make ([a-z-]+)", command)
    assert (target and target[1] in TARGETS) or command.startswith("sudo rm -rf /usr/"), command


@each_workflow
def test_a_workflow_may_read_the_repository_and_no_more(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in workflow[ON]


@each_job
def test_only_the_job_that_publishes_may_write_and_it_runs_no_code_of_the_repository(job):
    if not any("deploy-pages" in step.get("uses", "") for step in job["steps"]):
        assert "permissions" not in job
        return
    assert job["permissions"] == {"pages": "write", "id-token": "write"}
    assert [step["uses"].split("@")[0] for step in job["steps"]] == ["actions/deploy-pages"]


@each_job
def test_a_job_that_hangs_is_ended(job):
    assert 0 < job["timeout-minutes"] <= 90


@each_workflow
def test_of_a_workflow_one_run_goes_at_a_time_and_one_that_publishes_is_not_stopped(workflow):
    publishes = "deploy" in workflow["jobs"]
    assert workflow["concurrency"]["group"]
    assert workflow["concurrency"]["cancel-in-progress"] is not publishes


def test_no_secret_is_asked_for_and_none_is_left_for_the_commands():
    assert "secrets." not in "".join(path.read_text() for path in FOLDER.glob("*.yml"))
    assert all(step["with"]["persist-credentials"] is False for step in with_action("actions/checkout"))
    assert not [step for step in STEPS if "${{" in step.get("run", "")], "text from outside would reach a shell"


def test_only_actions_of_github_itself_are_used_each_in_one_version():
    used = {step["uses"] for step in STEPS if "uses" in step}
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)
    assert len({action.split("@")[0] for action in used}) == len(used)


def test_every_python_is_one_that_the_book_runs_on():
    for step in with_action("actions/setup-python"):
        version = step["with"]["python-version"]
        assert version == "3.x" or Version(version) >= Version("3.11"), version


def test_what_a_cache_is_named_after_exists():
    patterns = {p for step in STEPS for p in re.findall(r"'([^']+)'", str(step.get("with", {}).get("key", "")))}
    patterns |= {step["with"]["cache-dependency-path"] for step in STEPS if "cache" in step.get("with", {})}
    assert {"notebooks/*.ipynb", "resnet_utils/**", "requirements*.txt"} <= patterns
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []
    assert {step["with"]["path"] for step in with_action("actions/cache")} == {"_executed"}
