"""CI services are recognised from what they document, and a job that is repeated or divided is told from the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_jux.ci import PROVIDERS, job_facts, recognise
from pytest_jux.metadata import capture_metadata, refused_names

COMMIT = "a" * 40
BUILD = "8a1f0c2e-0d4b-4f7a-9b1c-2d3e4f5a6b7c"

# What a job of each service sees, as the service documents it, and what is made of that.
EXAMPLES = {
    "github": (
        {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_RUN_ID": "4711",
            "GITHUB_JOB": "tests",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_HEAD_REF": "topic",
            "GITHUB_REF_NAME": "17/merge",
            "GITHUB_SHA": COMMIT,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "example/tool",
        },
        {
            "build_id": "4711",
            "job": "tests",
            "attempt": "2",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://github.com/example/tool/actions/runs/4711",
        },
    ),
    "gitlab": (
        {
            "CI": "true",
            "GITLAB_CI": "true",
            "CI_PIPELINE_ID": "12",
            "CI_JOB_ID": "34",
            "CI_JOB_RETRY_COUNT": "0",
            "CI_NODE_INDEX": "2",
            "CI_NODE_TOTAL": "4",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "topic",
            "CI_COMMIT_REF_NAME": "refs/merge-requests/5/head",
            "CI_COMMIT_SHA": COMMIT,
            "CI_JOB_URL": "https://gitlab.example.org/group/tool/-/jobs/34",
        },
        {
            "build_id": "12",
            "job": "34",
            "attempt": "1",
            "shard": "2/4",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://gitlab.example.org/group/tool/-/jobs/34",
        },
    ),
    "jenkins": (
        {
            "CI": "true",
            "JENKINS_URL": "https://jenkins.example.org/",
            "BUILD_ID": "56",
            "JOB_NAME": "tool/PR-7",
            "BRANCH_NAME": "PR-7",
            "CHANGE_BRANCH": "topic",
            "GIT_COMMIT": COMMIT,
            "BUILD_URL": "https://jenkins.example.org/job/tool/56/",
        },
        {
            "build_id": "56",
            "job": "tool/PR-7",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://jenkins.example.org/job/tool/56/",
        },
    ),
    "circleci": (
        {
            "CI": "true",
            "CIRCLECI": "true",
            "CIRCLE_WORKFLOW_ID": BUILD,
            "CIRCLE_BUILD_NUM": "99",
            "CIRCLE_JOB": "tests",
            "CIRCLE_NODE_INDEX": "0",
            "CIRCLE_NODE_TOTAL": "3",
            "CIRCLE_BRANCH": "topic",
            "CIRCLE_SHA1": COMMIT,
            "CIRCLE_BUILD_URL": "https://circleci.com/gh/example/tool/99",
        },
        {
            "build_id": BUILD,
            "job": "tests",
            "shard": "1/3",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://circleci.com/gh/example/tool/99",
        },
    ),
    "azure": (
        {
            "TF_BUILD": "True",
            "BUILD_BUILDID": "78",
            "SYSTEM_JOBID": BUILD,
            "SYSTEM_JOBATTEMPT": "1",
            "SYSTEM_JOBPOSITIONINPHASE": "2",
            "SYSTEM_TOTALJOBSINPHASE": "2",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/users/a/topic",
            "BUILD_SOURCEBRANCH": "refs/pull/1/merge",
            "BUILD_SOURCEVERSION": COMMIT,
            "SYSTEM_COLLECTIONURI": "https://dev.azure.com/example/",
            "SYSTEM_TEAMPROJECT": "The Tool",
        },
        {
            "build_id": "78",
            "job": BUILD,
            "attempt": "1",
            "shard": "2/2",
            "branch": "users/a/topic",
            "commit": COMMIT,
            "build_url": "https://dev.azure.com/example/The%20Tool/_build/results?buildId=78",
        },
    ),
    "bitbucket": (
        {
            "CI": "true",
            "BITBUCKET_BUILD_NUMBER": "90",
            "BITBUCKET_STEP_UUID": "{step}",
            "BITBUCKET_STEP_RUN_NUMBER": "3",
            "BITBUCKET_PARALLEL_STEP": "1",
            "BITBUCKET_PARALLEL_STEP_COUNT": "2",
            "BITBUCKET_BRANCH": "topic",
            "BITBUCKET_COMMIT": COMMIT,
            "BITBUCKET_REPO_FULL_NAME": "example/tool",
        },
        {
            "build_id": "90",
            "job": "{step}",
            "attempt": "3",
            "shard": "2/2",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://bitbucket.org/example/tool/pipelines/results/90",
        },
    ),
    "travis": (
        {
            "CI": "true",
            "TRAVIS": "true",
            "TRAVIS_BUILD_ID": "11",
            "TRAVIS_JOB_ID": "22",
            "TRAVIS_PULL_REQUEST_BRANCH": "topic",
            "TRAVIS_BRANCH": "main",
            "TRAVIS_COMMIT": COMMIT,
            "TRAVIS_JOB_WEB_URL": "https://app.travis-ci.com/example/tool/jobs/22",
        },
        {
            "build_id": "11",
            "job": "22",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://app.travis-ci.com/example/tool/jobs/22",
        },
    ),
    "buildkite": (
        {
            "CI": "true",
            "BUILDKITE": "true",
            "BUILDKITE_BUILD_ID": BUILD,
            "BUILDKITE_JOB_ID": "job",
            "BUILDKITE_RETRY_COUNT": "1",
            "BUILDKITE_PARALLEL_JOB": "4",
            "BUILDKITE_PARALLEL_JOB_COUNT": "5",
            "BUILDKITE_BRANCH": "topic",
            "BUILDKITE_COMMIT": "HEAD",
            "BUILDKITE_BUILD_URL": "https://buildkite.com/example/tool/builds/6",
        },
        {
            "build_id": BUILD,
            "job": "job",
            "attempt": "2",
            "shard": "5/5",
            "branch": "topic",
            "build_url": "https://buildkite.com/example/tool/builds/6#job",
        },
    ),
    "teamcity": (
        {
            "TEAMCITY_VERSION": "2025.07",
            "BUILD_NUMBER": "33",
            "TEAMCITY_BUILDCONF_NAME": "Tests",
            "BUILD_VCS_NUMBER": COMMIT,
            "BUILD_URL": "https://teamcity.example.org/build/33",
        },
        {
            "build_id": "33",
            "job": "Tests",
            "commit": COMMIT,
            "build_url": "https://teamcity.example.org/build/33",
        },
    ),
    "woodpecker": (
        {
            "CI": "woodpecker",
            "DRONE": "true",
            "CI_PIPELINE_NUMBER": "8",
            "CI_WORKFLOW_NAME": "tests",
            "CI_PIPELINE_RERUNS": "1",
            "CI_COMMIT_SOURCE_BRANCH": "topic",
            "CI_COMMIT_BRANCH": "main",
            "CI_COMMIT_SHA": COMMIT,
            "CI_PIPELINE_URL": "https://ci.example.org/repos/7/pipeline/8",
        },
        {
            "build_id": "8",
            "job": "tests",
            "attempt": "2",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://ci.example.org/repos/7/pipeline/8",
        },
    ),
    "drone": (
        {
            "CI": "true",
            "DRONE": "true",
            "DRONE_BUILD_NUMBER": "9",
            "DRONE_STAGE_NAME": "default",
            "DRONE_SOURCE_BRANCH": "topic",
            "DRONE_COMMIT_BRANCH": "main",
            "DRONE_COMMIT_SHA": COMMIT,
            "DRONE_BUILD_LINK": "https://drone.example.org/example/tool/9",
        },
        {
            "build_id": "9",
            "job": "default",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://drone.example.org/example/tool/9",
        },
    ),
    "appveyor": (
        {
            "CI": "True",
            "APPVEYOR": "True",
            "APPVEYOR_URL": "https://ci.appveyor.com",
            "APPVEYOR_ACCOUNT_NAME": "example",
            "APPVEYOR_PROJECT_SLUG": "tool",
            "APPVEYOR_BUILD_ID": "10",
            "APPVEYOR_JOB_ID": "abc",
            "APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH": "topic",
            "APPVEYOR_REPO_BRANCH": "main",
            "APPVEYOR_REPO_COMMIT": COMMIT,
        },
        {
            "build_id": "10",
            "job": "abc",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://ci.appveyor.com/project/example/tool/builds/10/job/abc",
        },
    ),
    "codebuild": (
        {
            "CODEBUILD_BUILD_ID": f"tool:{BUILD}",
            "CODEBUILD_BATCH_BUILD_IDENTIFIER": "linux",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/topic",
            "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
            "CODEBUILD_PUBLIC_BUILD_URL": "https://eu-west-1.codebuild.aws.amazon.com/project/x",
        },
        {
            "build_id": f"tool:{BUILD}",
            "job": "linux",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": "https://eu-west-1.codebuild.aws.amazon.com/project/x",
        },
    ),
    "cloudbuild": (
        {
            "BUILDER_OUTPUT": "/builder/outputs",
            "BUILD_ID": BUILD,
            "PROJECT_ID": "example",
            "LOCATION": "global",
            "TRIGGER_NAME": "on-push",
            "_HEAD_BRANCH": "topic",
            "BRANCH_NAME": "main",
            "COMMIT_SHA": COMMIT,
        },
        {
            "build_id": BUILD,
            "job": "on-push",
            "branch": "topic",
            "commit": COMMIT,
            "build_url": f"https://console.cloud.google.com/cloud-build/builds;region=global/{BUILD}?project=example",
        },
    ),
    "generic": ({"CI": "1"}, {}),
}
BY_NAME = {provider.name: provider for provider in PROVIDERS}


def facts_of(environ):
    provider = recognise(environ)
    return job_facts(provider, environ, str) if provider else None


def recorded(environ):
    """Return what gets into the report, apart from the time."""
    return capture_metadata(Path("/"), environ=environ, exclude=["timestamp", "git:status"]).to_properties()


def test_there_is_an_example_of_every_service():
    assert [*EXAMPLES] == [*BY_NAME]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_service_is_recognised_with_what_it_says_of_the_job(name):
    environ, expected = EXAMPLES[name]
    assert facts_of(environ) == {"provider": name} | expected


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_service_is_recognised_by_each_of_its_markers_alone(name):
    samples = {"/builder/outputs": "/builder/outputs", "woodpecker": "Woodpecker", "": "true"}
    for marker in BY_NAME[name].markers:
        environ = {variable: samples.get(pattern, BUILD) for variable, pattern in marker.items()}
        assert recognise(environ) is BY_NAME[name]


@pytest.mark.parametrize("name", [name for name, (environ, _) in EXAMPLES.items() if "CI" in environ])
def test_a_service_that_says_of_itself_that_it_is_none_is_believed(name):
    denied = dict.fromkeys((variable for marker in BY_NAME[name].markers for variable in marker), "false")
    assert recognise(EXAMPLES[name][0] | denied) is not BY_NAME[name]


@pytest.mark.parametrize("value", ["", "0", "false", "False", "FALSE", "no", "off", " "])
def test_a_denial_is_no_ci(value):
    assert recognise({"CI": value}) is None


@pytest.mark.parametrize("inner", ["github", "gitlab", "buildkite"])
def test_a_job_on_a_machine_of_codebuild_belongs_to_the_service_that_started_it(inner):
    assert facts_of(EXAMPLES["codebuild"][0] | EXAMPLES[inner][0])["provider"] == inner


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"BUILD_ID": "56", "PROJECT_ID": "example"}, None),
        ({"BUILD_ID": BUILD}, None),
        ({"BUILD_ID": BUILD, "PROJECT_ID": "example"}, "cloudbuild"),
        ({"BUILDER_OUTPUT": "/home/me/out"}, None),
        ({"BUILDER_OUTPUT": "/builder/outputs"}, "cloudbuild"),
        (EXAMPLES["jenkins"][0] | {"PROJECT_ID": "example"}, "jenkins"),
        (EXAMPLES["jenkins"][0] | {"BUILD_ID": BUILD, "PROJECT_ID": "example"}, "jenkins"),
        (EXAMPLES["codebuild"][0] | {"BUILD_ID": BUILD, "PROJECT_ID": "example"}, "codebuild"),
        (EXAMPLES["teamcity"][0] | {"BUILD_ID": BUILD, "PROJECT_ID": "example"}, "teamcity"),
    ],
)
def test_google_cloud_build_is_not_taken_for_another(environ, name):
    provider = recognise(environ)
    assert (provider.name if provider else None) == name


def test_jenkins_without_an_address_of_its_own_is_recognised():
    environ = {"JENKINS_HOME": "/var/lib/jenkins", "JOB_NAME": "tool", "BUILD_NUMBER": "5", "BUILD_ID": "5"}
    assert facts_of(environ) == {"provider": "jenkins", "build_id": "5", "job": "tool"}


def test_the_home_of_jenkins_alone_is_no_job():
    assert recognise({"JENKINS_HOME": "/var/lib/jenkins"}) is None


# --- a repeated or divided job is another report ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [p.name for p in PROVIDERS if p.attempt])
def test_a_repeated_job_gives_other_metadata(name):
    environ, provider = EXAMPLES[name][0], BY_NAME[name]
    first, second = ({**environ, provider.attempt: str(provider.attempt_from + n)} for n in (0, 1))
    assert [facts_of(e)["attempt"] for e in (first, second)] == ["1", "2"]
    assert recorded(first) != recorded(second)


@pytest.mark.parametrize("name", [p.name for p in PROVIDERS if p.shard])
def test_a_divided_job_gives_other_metadata_in_each_part(name):
    environ, provider = EXAMPLES[name][0] | {BY_NAME[name].shards: "2"}, BY_NAME[name]
    first, second = ({**environ, provider.shard: str(provider.shard_from + n)} for n in (0, 1))
    assert [facts_of(e)["shard"] for e in (first, second)] == ["1/2", "2/2"]
    assert recorded(first) != recorded(second)


@pytest.mark.parametrize("name", [p.name for p in PROVIDERS if p.build_id])
def test_another_build_gives_other_metadata(name):
    environ = EXAMPLES[name][0]
    other = {**environ, BY_NAME[name].build_id: BUILD.replace("8", "9")}
    assert recorded(environ) != recorded(other)


@pytest.mark.parametrize("name", [p.name for p in PROVIDERS if p.shard])
def test_a_job_that_is_not_divided_has_no_shard(name):
    provider = BY_NAME[name]
    whole = EXAMPLES[name][0] | {provider.shard: str(provider.shard_from), provider.shards: "1"}
    absent = {variable: value for variable, value in whole.items() if variable != provider.shard}
    assert "shard" not in facts_of(whole)
    assert "shard" not in facts_of(absent)


def test_a_shard_of_unknown_total_is_its_number():
    environ = EXAMPLES["bitbucket"][0].copy()
    del environ["BITBUCKET_PARALLEL_STEP_COUNT"]
    assert facts_of(environ)["shard"] == "2"


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "²", "9" * 5000])
def test_a_count_that_is_no_number_stays_as_it_is(value):
    environ = EXAMPLES["buildkite"][0] | {"BUILDKITE_RETRY_COUNT": value}
    assert facts_of(environ)["attempt"] == value


# --- branch, commit, address -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "branch"),
    [
        ("github", {"GITHUB_HEAD_REF": "", "GITHUB_REF_NAME": "main"}, "main"),
        ("gitlab", {"CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "", "CI_COMMIT_REF_NAME": "main"}, "main"),
        ("jenkins", {"CHANGE_BRANCH": "", "BRANCH_NAME": "origin/x"}, "origin/x"),
        ("jenkins", {"CHANGE_BRANCH": "", "BRANCH_NAME": "", "GIT_BRANCH": "origin/main"}, "main"),
        (
            "azure",
            {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "", "BUILD_SOURCEBRANCH": "refs/heads/releases/1"},
            "releases/1",
        ),
        ("azure", {"SYSTEM_PULLREQUEST_SOURCEBRANCH": "", "BUILD_SOURCEBRANCH": "refs/tags/v1"}, None),
        ("codebuild", {"CODEBUILD_WEBHOOK_HEAD_REF": "refs/tags/v1"}, None),
        ("travis", {"TRAVIS_PULL_REQUEST_BRANCH": ""}, "main"),
        ("woodpecker", {"CI_COMMIT_SOURCE_BRANCH": ""}, "main"),
        ("drone", {"DRONE_SOURCE_BRANCH": ""}, "main"),
        ("appveyor", {"APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH": ""}, "main"),
        ("cloudbuild", {"_HEAD_BRANCH": ""}, "main"),
    ],
)
def test_without_a_pull_request_the_branch_is_the_one_that_is_built(name, changes, branch):
    assert facts_of(EXAMPLES[name][0] | changes).get("branch") == branch


@pytest.mark.parametrize("value", ["HEAD", "main", COMMIT[:7], COMMIT.upper(), f"{COMMIT}\n", "pr/1", ""])
def test_a_commit_is_a_whole_hash_or_not_recorded(value):
    assert "commit" not in facts_of(EXAMPLES["github"][0] | {"GITHUB_SHA": value})


def test_an_address_with_a_part_that_is_not_known_is_left_out():
    environ = EXAMPLES["github"][0] | {"GITHUB_REPOSITORY": ""}
    assert "build_url" not in facts_of(environ)


@pytest.mark.parametrize("name", [p.name for p in PROVIDERS if p.url])
def test_an_address_never_has_user_information(name):
    environ = {
        variable: value.replace("https://", "https://admin:s3cret@") for variable, value in EXAMPLES[name][0].items()
    }
    facts = capture_metadata(Path("/"), environ=environ)
    assert facts.ci["build_url"] == EXAMPLES[name][1]["build_url"]
    assert "s3cret" not in repr(facts)


# --- what is recorded as it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.name)
def test_no_listed_variable_has_a_name_that_is_refused(provider):
    assert refused_names(provider.variables) == []
    assert len({*provider.variables}) == len(provider.variables)


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda p: p.name)
def test_listed_variables_and_no_others_are_recorded(provider):
    environ = (
        EXAMPLES[provider.name][0] | dict.fromkeys(provider.variables, "value") | {"HOME": "/root", "X_TOKEN": "t"}
    )
    assert {*capture_metadata(Path("/"), environ=environ).env} == {*provider.variables} | ({"CI"} & {*environ})


# --- the documentation -----------------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[1] / "docs" / "metadata.md"


def code(names):
    return ", ".join(f"`{name}`" for name in names if name) or "-"


def markers(provider):
    groups = [
        " and ".join(
            f"`{variable}`" + (" (a UUID)" if pattern.startswith("[") else f" = `{pattern}`" if pattern else "")
            for variable, pattern in marker.items()
        )
        for marker in provider.markers
    ]
    return ", or ".join(groups)


def rows():
    for provider in PROVIDERS:
        shard = [provider.shard, provider.shards] if provider.shard else []
        cells = [
            f"{provider.title} (`{provider.name}`)",
            markers(provider),
            code([provider.build_id]),
            code([provider.job]),
            code([provider.attempt]),
            code(shard),
        ]
        yield "| " + " | ".join(cells) + " |"
    for provider in PROVIDERS:
        url = code(re.findall(r"\{(\w+)\}", provider.url))
        yield "| " + " | ".join([f"`{provider.name}`", code(provider.branch), code(provider.commit), url]) + " |"
    for provider in PROVIDERS:
        yield f"| `{provider.name}` | {code(provider.variables)} |"


def test_the_documented_tables_are_what_the_code_reads():
    text = PAGE.read_text(encoding="utf-8")
    documented = [line for line in text.splitlines() if re.match(r"\| .*`(?:" + "|".join(BY_NAME) + r")`\)? \|", line)]
    assert documented == [*rows()]
