"""CI services: how each gives itself away, and which of its documented variables name the job."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DENIED = {"", "0", "false", "no", "off"}
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_COMMIT = "[0-9a-f]{40}|[0-9a-f]{64}"
_LONGEST_NUMBER = 9  # digits; what is longer is not counted with


class Provider(NamedTuple):
    """A CI service.

    `markers` are alternatives: one is met when each of its variables has a value that matches its pattern, or, where
    the pattern is empty, any value but a denial such as `false`. Of `branch` and `commit` the first variable with a
    usable value counts. `attempt` and `shard` are counted from `attempt_from` and `shard_from` by the service, and
    from 1 in the metadata. `url` is a template of variables. `variables` are those that are recorded as they are.
    """

    name: str
    title: str
    markers: tuple[Mapping[str, str], ...]
    build_id: str = ""
    job: str = ""
    attempt: str = ""
    attempt_from: int = 1
    shard: str = ""
    shard_from: int = 1
    shards: str = ""
    branch: tuple[str, ...] = ()
    commit: tuple[str, ...] = ()
    url: str = ""
    variables: tuple[str, ...] = ()


# In this order: a service that can run inside another one's machine, or that sets the other's variables, too, stands
# before it. So GitHub, GitLab and Buildkite, whose jobs may run on machines of CodeBuild, are before CodeBuild, and
# Woodpecker, which set Drone's variables for a long time, is before Drone.
PROVIDERS = (
    Provider(
        "github",
        "GitHub Actions",
        ({"GITHUB_ACTIONS": ""},),
        build_id="GITHUB_RUN_ID",
        job="GITHUB_JOB",
        attempt="GITHUB_RUN_ATTEMPT",
        branch=("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
        commit=("GITHUB_SHA",),
        url="{GITHUB_SERVER_URL}/{GITHUB_REPOSITORY}/actions/runs/{GITHUB_RUN_ID}",
        variables=(
            "GITHUB_WORKFLOW",
            "GITHUB_EVENT_NAME",
            "GITHUB_REF",
            "GITHUB_SHA",
            "GITHUB_ACTOR",
            "RUNNER_NAME",
            "RUNNER_OS",
        ),
    ),
    Provider(
        "gitlab",
        "GitLab CI",
        ({"GITLAB_CI": ""},),
        build_id="CI_PIPELINE_ID",
        job="CI_JOB_ID",
        attempt="CI_JOB_RETRY_COUNT",
        attempt_from=0,
        shard="CI_NODE_INDEX",
        shards="CI_NODE_TOTAL",
        branch=("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME"),
        commit=("CI_COMMIT_SHA",),
        url="{CI_JOB_URL}",
        variables=(
            "CI_JOB_NAME",
            "CI_JOB_STAGE",
            "CI_COMMIT_SHA",
            "CI_PIPELINE_SOURCE",
            "CI_MERGE_REQUEST_IID",
            "CI_NODE_INDEX",
            "CI_NODE_TOTAL",
        ),
    ),
    Provider(
        "jenkins",
        "Jenkins",
        # Where nobody has told Jenkins its own address, there is no JENKINS_URL.
        ({"JENKINS_URL": ""}, {"JENKINS_HOME": "", "JOB_NAME": "", "BUILD_NUMBER": ""}),
        build_id="BUILD_ID",
        job="JOB_NAME",
        branch=("CHANGE_BRANCH", "BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH"),
        commit=("GIT_COMMIT",),
        url="{BUILD_URL}",
        variables=("BUILD_NUMBER", "NODE_NAME", "EXECUTOR_NUMBER", "STAGE_NAME", "CHANGE_ID"),
    ),
    Provider(
        "circleci",
        "CircleCI",
        ({"CIRCLECI": ""},),
        build_id="CIRCLE_WORKFLOW_ID",
        job="CIRCLE_JOB",
        shard="CIRCLE_NODE_INDEX",
        shard_from=0,
        shards="CIRCLE_NODE_TOTAL",
        branch=("CIRCLE_BRANCH",),
        commit=("CIRCLE_SHA1",),
        url="{CIRCLE_BUILD_URL}",
        variables=("CIRCLE_BUILD_NUM", "CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_SHA1", "CIRCLE_TAG", "CIRCLE_PULL_REQUEST"),
    ),
    Provider(
        "azure",
        "Azure Pipelines",
        ({"TF_BUILD": ""},),
        build_id="BUILD_BUILDID",
        job="SYSTEM_JOBID",
        attempt="SYSTEM_JOBATTEMPT",
        shard="SYSTEM_JOBPOSITIONINPHASE",
        shards="SYSTEM_TOTALJOBSINPHASE",
        branch=("SYSTEM_PULLREQUEST_SOURCEBRANCH", "BUILD_SOURCEBRANCH"),
        commit=("BUILD_SOURCEVERSION",),
        url="{SYSTEM_COLLECTIONURI}{SYSTEM_TEAMPROJECT}/_build/results?buildId={BUILD_BUILDID}",
        variables=(
            "BUILD_BUILDNUMBER",
            "BUILD_DEFINITIONNAME",
            "BUILD_REASON",
            "BUILD_SOURCEVERSION",
            "SYSTEM_JOBDISPLAYNAME",
            "SYSTEM_PULLREQUEST_PULLREQUESTID",
            "SYSTEM_STAGENAME",
            "SYSTEM_STAGEATTEMPT",
        ),
    ),
    Provider(
        "bitbucket",
        "Bitbucket Pipelines",
        ({"BITBUCKET_BUILD_NUMBER": ""},),
        build_id="BITBUCKET_BUILD_NUMBER",
        job="BITBUCKET_STEP_UUID",
        attempt="BITBUCKET_STEP_RUN_NUMBER",
        shard="BITBUCKET_PARALLEL_STEP",
        shard_from=0,
        shards="BITBUCKET_PARALLEL_STEP_COUNT",
        branch=("BITBUCKET_BRANCH",),
        commit=("BITBUCKET_COMMIT",),
        url="https://bitbucket.org/{BITBUCKET_REPO_FULL_NAME}/pipelines/results/{BITBUCKET_BUILD_NUMBER}",
        variables=("BITBUCKET_COMMIT", "BITBUCKET_TAG", "BITBUCKET_PR_ID", "BITBUCKET_PIPELINE_UUID"),
    ),
    Provider(
        "travis",
        "Travis CI",
        ({"TRAVIS": ""},),
        build_id="TRAVIS_BUILD_ID",
        job="TRAVIS_JOB_ID",
        branch=("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH"),
        commit=("TRAVIS_COMMIT",),
        url="{TRAVIS_JOB_WEB_URL}",
        variables=(
            "TRAVIS_JOB_NUMBER",
            "TRAVIS_JOB_NAME",
            "TRAVIS_JOB_RESTARTED",
            "TRAVIS_EVENT_TYPE",
            "TRAVIS_COMMIT",
            "TRAVIS_TAG",
            "TRAVIS_PULL_REQUEST",
            "TRAVIS_OS_NAME",
        ),
    ),
    Provider(
        "buildkite",
        "Buildkite",
        ({"BUILDKITE": ""},),
        build_id="BUILDKITE_BUILD_ID",
        job="BUILDKITE_JOB_ID",
        attempt="BUILDKITE_RETRY_COUNT",
        attempt_from=0,
        shard="BUILDKITE_PARALLEL_JOB",
        shard_from=0,
        shards="BUILDKITE_PARALLEL_JOB_COUNT",
        branch=("BUILDKITE_BRANCH",),
        commit=("BUILDKITE_COMMIT",),
        url="{BUILDKITE_BUILD_URL}#{BUILDKITE_JOB_ID}",
        variables=(
            "BUILDKITE_BUILD_NUMBER",
            "BUILDKITE_PIPELINE_SLUG",
            "BUILDKITE_LABEL",
            "BUILDKITE_SOURCE",
            "BUILDKITE_COMMIT",
            "BUILDKITE_TAG",
            "BUILDKITE_PULL_REQUEST",
        ),
    ),
    Provider(
        "teamcity",
        "TeamCity",
        ({"TEAMCITY_VERSION": ""},),
        build_id="BUILD_NUMBER",
        job="TEAMCITY_BUILDCONF_NAME",
        commit=("BUILD_VCS_NUMBER",),
        url="{BUILD_URL}",
        variables=("TEAMCITY_VERSION", "TEAMCITY_PROJECT_NAME", "BUILD_VCS_NUMBER"),
    ),
    Provider(
        "woodpecker",
        "Woodpecker",
        ({"CI": "woodpecker"}, {"CI_SYSTEM_NAME": "woodpecker"}),
        build_id="CI_PIPELINE_NUMBER",
        job="CI_WORKFLOW_NAME",
        attempt="CI_PIPELINE_RERUNS",
        attempt_from=0,
        branch=("CI_COMMIT_SOURCE_BRANCH", "CI_COMMIT_BRANCH"),
        commit=("CI_COMMIT_SHA",),
        url="{CI_PIPELINE_URL}",
        variables=(
            "CI_REPO",
            "CI_STEP_NAME",
            "CI_STEP_URL",
            "CI_PIPELINE_EVENT",
            "CI_PIPELINE_PARENT",
            "CI_COMMIT_SHA",
            "CI_COMMIT_TAG",
            "CI_COMMIT_PULL_REQUEST",
        ),
    ),
    Provider(
        "drone",
        "Drone",
        ({"DRONE": ""},),
        build_id="DRONE_BUILD_NUMBER",
        job="DRONE_STAGE_NAME",
        branch=("DRONE_SOURCE_BRANCH", "DRONE_COMMIT_BRANCH"),
        commit=("DRONE_COMMIT_SHA",),
        url="{DRONE_BUILD_LINK}",
        variables=(
            "DRONE_REPO",
            "DRONE_STAGE_NUMBER",
            "DRONE_STEP_NAME",
            "DRONE_BUILD_EVENT",
            "DRONE_BUILD_PARENT",
            "DRONE_COMMIT_SHA",
            "DRONE_TAG",
            "DRONE_PULL_REQUEST",
        ),
    ),
    Provider(
        "appveyor",
        "AppVeyor",
        ({"APPVEYOR": ""},),
        build_id="APPVEYOR_BUILD_ID",
        job="APPVEYOR_JOB_ID",
        branch=("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH", "APPVEYOR_REPO_BRANCH"),
        commit=("APPVEYOR_REPO_COMMIT",),
        url="{APPVEYOR_URL}/project/{APPVEYOR_ACCOUNT_NAME}/{APPVEYOR_PROJECT_SLUG}/builds/{APPVEYOR_BUILD_ID}"
        "/job/{APPVEYOR_JOB_ID}",
        variables=(
            "APPVEYOR_BUILD_VERSION",
            "APPVEYOR_JOB_NAME",
            "APPVEYOR_JOB_NUMBER",
            "APPVEYOR_RE_BUILD",
            "APPVEYOR_REPO_COMMIT",
            "APPVEYOR_REPO_TAG_NAME",
            "APPVEYOR_PULL_REQUEST_NUMBER",
        ),
    ),
    Provider(
        "codebuild",
        "AWS CodeBuild",
        ({"CODEBUILD_BUILD_ID": ""}, {"CODEBUILD_BUILD_ARN": ""}),
        build_id="CODEBUILD_BUILD_ID",
        job="CODEBUILD_BATCH_BUILD_IDENTIFIER",
        branch=("CODEBUILD_WEBHOOK_HEAD_REF",),
        commit=("CODEBUILD_RESOLVED_SOURCE_VERSION",),
        url="{CODEBUILD_PUBLIC_BUILD_URL}",
        variables=(
            "AWS_REGION",
            "CODEBUILD_BUILD_NUMBER",
            "CODEBUILD_INITIATOR",
            "CODEBUILD_RESOLVED_SOURCE_VERSION",
            "CODEBUILD_SOURCE_VERSION",
            "CODEBUILD_WEBHOOK_EVENT",
            "CODEBUILD_WEBHOOK_TRIGGER",
        ),
    ),
    Provider(
        "cloudbuild",
        "Google Cloud Build",
        # A step sees the first by itself, and the others when the build maps its substitutions. Many services have a
        # BUILD_ID; only this one's is a UUID beside a project.
        ({"BUILDER_OUTPUT": "/builder/outputs"}, {"BUILD_ID": _UUID, "PROJECT_ID": ""}),
        build_id="BUILD_ID",
        job="TRIGGER_NAME",
        branch=("_HEAD_BRANCH", "BRANCH_NAME"),
        commit=("COMMIT_SHA", "REVISION_ID"),
        url="https://console.cloud.google.com/cloud-build/builds;region={LOCATION}/{BUILD_ID}?project={PROJECT_ID}",
        variables=("PROJECT_ID", "LOCATION", "REPO_FULL_NAME", "COMMIT_SHA", "TAG_NAME", "_PR_NUMBER"),
    ),
    Provider("generic", "any other", ({"CI": ""},)),
)


def recognise(environ: Mapping[str, str]) -> Provider | None:
    """Return the CI service that set these variables, or None."""
    return next((p for p in PROVIDERS if any(_is_met(marker, environ) for marker in p.markers)), None)


def job_facts(provider: Provider, environ: Mapping[str, str], clean: Callable[[str], str]) -> dict[str, str]:
    """Return what is known of `provider`, `build_id`, `job`, `attempt`, `shard`, `branch`, `commit` and `build_url`.

    `attempt` is a number from 1; `shard` is such as `2/4`, from 1, and not there for a job that is not divided.
    `branch` of a pull request is its source branch. `clean` takes user information out of each part of the URL.
    """
    facts = {
        "provider": provider.name,
        "build_id": environ.get(provider.build_id, ""),
        "job": environ.get(provider.job, ""),
        "attempt": _counted(environ.get(provider.attempt, ""), provider.attempt_from),
        "shard": _shard(provider, environ),
        "branch": next(filter(None, (_branch(name, environ) for name in provider.branch)), ""),
        "commit": next((v for name in provider.commit if re.fullmatch(_COMMIT, v := environ.get(name, ""))), ""),
        "build_url": _fill(provider.url, environ, clean),
    }
    return {name: value for name, value in facts.items() if value}


def _is_met(marker: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    for name, pattern in marker.items():
        value = environ.get(name, "").strip().lower()
        if value in _DENIED or (pattern and not re.fullmatch(pattern, value)):
            return False
    return True


def _counted(value: str, first: int) -> str:
    """Return a count that begins at `first` as one that begins at 1; what is no number stays as it is."""
    if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
        return value
    return str(int(value) + 1 - first)


def _shard(provider: Provider, environ: Mapping[str, str]) -> str:
    index, total = environ.get(provider.shard, ""), environ.get(provider.shards, "")
    if not index or total == "1":
        return ""
    number = _counted(index, provider.shard_from)
    return f"{number}/{total}" if total else number


def _branch(name: str, environ: Mapping[str, str]) -> str:
    """Return the branch that a variable names, be it as a reference; "" for a reference to a tag or a merge."""
    value = environ.get(name, "").removeprefix("refs/heads/")
    if name == "GIT_BRANCH":  # Jenkins' git plugin names the remote's branch
        value = value.removeprefix("origin/")
    return "" if value.startswith("refs/") else value


def _fill(template: str, environ: Mapping[str, str], clean: Callable[[str], str]) -> str:
    """Return the URL of a template, or "" where a variable of it is not set."""
    names = re.findall(r"\{(\w+)\}", template)
    if not names or not all(environ.get(name) for name in names):
        return ""
    return re.sub(r"\{(\w+)\}", lambda match: clean(environ[match.group(1)]).replace(" ", "%20"), template)
