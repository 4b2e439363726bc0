"""What the answers look like, for the OpenAPI document; the routes build them as plain values."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["passed", "failed", "error"]
CaseStatus = Literal["passed", "failed", "error", "skipped"]
State = Literal["trusted", "intact", "unsigned", "broken"]

_ID = "8f00829a-935a-4425-82d5-f88174c7d506"
_HASH = "sha256:3d08a795eced1235cc137a0894f70f90749c3875b008c2a8ac144b6600a77e41"
_TIME = "2026-11-22T10:30:00.000000Z"


class Model(BaseModel):
    """Base: nothing but the fields that are named."""

    model_config = ConfigDict(extra="forbid")


class Problem(Model):
    """An error: a few words, a sentence, and where there is one the next step."""

    status: Literal["error"]
    error: str = Field(examples=["Invalid XML signature"])
    message: str = Field(examples=["the report was changed after signing (its digest is not the signed one)"])
    details: dict[str, Any]
    suggestions: list[str]


class Signature(Model):
    """What verification found, in short."""

    state: State
    reason: str | None = Field(description="Why it is not trusted.")
    signer: str | None = Field(examples=["CN=ci"])


class Received(Model):
    """What became of a report that was sent."""

    status: Literal["created", "duplicate"]
    id: str = Field(examples=[_ID])
    canonical_hash: str = Field(examples=[_HASH])
    message: str = Field(examples=["Report published successfully"])
    project: str
    signature: Signature
    url: str = Field(examples=[f"/reports/{_ID}"])


class Submitted(Model):
    """What became of a report that was sent, as the public contract has it."""

    test_run_id: str = Field(examples=[_ID])
    message: str
    test_count: int
    failure_count: int
    error_count: int
    skipped_count: int
    success_rate: float = Field(ge=0, le=100)
    project: str
    canonical_hash: str = Field(examples=[_HASH])
    signature: Signature
    url: str


class Publication(Model):
    """A report on its way to the server."""

    model_config = ConfigDict(extra="allow")

    report: str = Field(examples=['<testsuite name="s"><testcase classname="a" name="b"/></testsuite>'])
    canonical_hash: str | None = Field(default=None, description="What the sender computed; another one is refused.")
    metadata: dict[str, Any] | None = Field(default=None, description="What the sender says of the run.")


_JUNIT = (
    '<testsuite name="pytest"><properties><property name="project" value="shop"/></properties>'
    '<testcase classname="tests.test_cart" name="test_total" time="0.012"/></testsuite>'
)
PUBLICATION_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": Publication.model_json_schema(),
            "example": {"report": _JUNIT, "metadata": {"project": "shop", "git": {"branch": "main"}}},
        }
    },
}
JUNIT_BODY = {
    "required": True,
    "content": {media: {"schema": {"type": "string"}, "example": _JUNIT} for media in ("application/xml", "text/xml")},
}


class Run(Model):
    """A run, as lists have it."""

    id: str = Field(examples=[_ID])
    project: str = Field(examples=["shop"])
    canonical_hash: str = Field(examples=[_HASH])
    received_at: str = Field(examples=[_TIME])
    started_at: str | None
    branch: str | None = Field(examples=["main"])
    commit: str | None
    dirty: bool | None
    status: Status
    tests: int
    passed: int
    failures: int
    errors: int
    skipped: int
    flaky: int
    time: float = Field(description="Seconds.")
    signature_state: State
    signer: str | None
    tags: list[str]
    pinned: bool
    url: str


class Document(Model):
    """One document of a run: the same content, signed by whom, received when."""

    document: int = Field(description="The best signature is number 1.")
    state: State
    reason: str | None
    signer: str | None
    algorithm: str | None = Field(examples=["ECDSA-SHA256"])
    trusted_by: str | None
    fingerprint: str | None = Field(description="SHA-256 of the signer's certificate.")
    not_before: str | None
    not_after: str | None
    received_at: str
    received_by: str | None = Field(description="The name of the API key.")
    size: int


class RunDetail(Run):
    """A run with its metadata and signatures."""

    metadata: dict[str, Any] = Field(description="What the report says itself.")
    sender: dict[str, Any] = Field(description="What the sender said besides; no signature covers it.")
    signature: Document | None
    documents: list[Document]


class Runs(Model):
    """A page of runs, newest first."""

    reports: list[Run]
    next: str | None = Field(description="The cursor of the next page.")


class Case(Model):
    """One case of a run."""

    position: int
    test: int = Field(description="The number of the test, for its history.")
    classname: str
    name: str
    status: CaseStatus
    flaky: bool = Field(description="It passed only when it was tried again.")
    time: float
    type: str
    message: str
    details: str
    shortened: bool = Field(description="There is more of message or details in the report itself.")


class Cases(Model):
    """A page of cases."""

    cases: list[Case]
    next: str | None


class Project(Model):
    """A project with its newest run."""

    name: str
    reports: int
    latest: Run | None


class Projects(Model):
    """All projects that the caller sees, those heard of last first."""

    projects: list[Project]


class Test(Model):
    """A test of a project."""

    id: int
    project: str
    classname: str
    name: str


class Tests(Model):
    """A page of tests."""

    tests: list[Test]
    next: str | None


class Figures(Model):
    """A test over several runs; times are seconds."""

    runs: int
    passed: int
    failed: int
    skipped: int
    flaky: int
    reliability: float | None = Field(description="The share that passed, skips left out.")
    p50: float | None
    p95: float | None


class Execution(Model):
    """How a test ended in a run."""

    report: str
    received_at: str
    branch: str | None
    commit: str | None
    status: CaseStatus
    flaky: bool
    time: float
    type: str
    message: str


class History(Model):
    """A test in the newest runs of its project, newest first."""

    test: Test
    figures: Figures
    executions: list[Execution]


class FlakyTest(Model):
    """A test that does not give the same answer to the same question."""

    test: Test
    figures: Figures
    score: float = Field(ge=0, le=1)
    switches: int = Field(description="Changes between passed and failed from one run of a branch to the next.")
    commits: int = Field(description="Commits on which it both passed and failed.")
    retried: int = Field(description="Runs in which it passed only when it was tried again.")


class FlakyTests(Model):
    """The flaky tests within a window of runs, the flakiest first."""

    runs: int
    tests: list[FlakyTest]


class SlowTest(Model):
    """A slow test."""

    test: Test
    figures: Figures
    total: float = Field(description="Seconds in all these runs together.")


class SlowTests(Model):
    """The slowest tests within a window of runs, by their median."""

    runs: int
    tests: list[SlowTest]


class Change(Model):
    """One test in both runs."""

    test: Test
    base: CaseStatus | None
    head: CaseStatus | None
    base_time: float | None
    head_time: float | None


class Changes(Model):
    """All changes of one kind: how many, and the first of them."""

    count: int
    tests: list[Change]


class Comparison(Model):
    """What changed from one run to another."""

    base: Run
    head: Run
    newly_failing: Changes
    fixed: Changes
    still_failing: Changes
    added: Changes
    removed: Changes
    slower: Changes


# --- the public contract ---------------------------------------------------------------------------------------------


class TestRun(Model):
    """A run, as the public contract has it, with our own fields."""

    id: str
    project: str
    branch: str | None
    commit_sha: str | None
    total_tests: int
    failures: int
    errors: int
    skipped: int
    success_rate: float
    inserted_at: str
    tags: list[str]
    signature_state: State
    signer: str | None
    canonical_hash: str


class Pagination(Model):
    """Where a page stands."""

    current_page: int
    total_pages: int
    total_count: int
    per_page: int


class TestRuns(Model):
    """A page of runs."""

    test_runs: list[TestRun]
    pagination: Pagination


class TestSuite(Model):
    """A suite of a run."""

    id: str
    name: str
    tests: int
    failures: int
    errors: int
    skipped: int
    time: float


class CiMetadata(Model):
    """The job that the run was made by."""

    job_id: str | None
    pipeline_url: str | None
    build_number: str | None


class TestRunDetail(TestRun):
    """A run with its suites."""

    total_time: float
    ci_metadata: CiMetadata
    test_suites: list[TestSuite]


class TestSuites(Model):
    """The suites of a run."""

    test_suites: list[TestSuite]


class TestCase(Model):
    """A case; the failure fields are null for one that did not fail."""

    id: str
    name: str
    classname: str
    status: CaseStatus
    time: float
    failure_message: str | None
    failure_type: str | None
    failure_stacktrace: str | None


class TestCases(Model):
    """The cases of a suite."""

    test_cases: list[TestCase]


class Health(Model):
    """That the server is there, and which it is."""

    status: Literal["ok"]
    version: str


# --- answers that are errors -----------------------------------------------------------------------------------------

_MEANINGS = {
    400: "The request makes no sense, or the report is refused.",
    401: "There is no API key in the request, or one that is not accepted.",
    403: "The API key has not the scope, or is not for this project.",
    404: "There is no such thing, or none that the caller may see.",
    408: "The body came too slowly.",
    413: "The report is too large.",
    415: "The body is of another media type or content coding.",
    429: "Too many requests; `Retry-After` says when to try again.",
    503: "The server cannot answer now.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of answers that are errors."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


READS = errors(400, 401, 403, 404, 429, 503)
LISTS = errors(400, 401, 403, 429, 503)
RECEIVES = errors(400, 401, 403, 408, 413, 415, 429, 503)
