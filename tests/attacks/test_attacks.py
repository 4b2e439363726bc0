"""Each attack of the corpus gets the verdict it deserves, from the library and from both commands alike."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from attacks import builder
from attacks.corpus import CORPUS, Attack
from attacks.material import NOW
from click.testing import CliRunner

from pytest_jux.commands.inspect import command as inspect_command
from pytest_jux.commands.verify import command as verify_command
from pytest_jux.errors import JuxError, ReportError
from pytest_jux.keys import certificate_pem
from pytest_jux.verifier import examine_report, verify_report

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_jux.report import Report

every_attack = pytest.mark.parametrize("attack", CORPUS.values(), ids=CORPUS)


def names_in(canonical: bytes) -> list[tuple[str, str]]:
    """Every case of a canonical document, in the order of the document, read with another library."""
    return [
        (element.get("classname", ""), element.get("name", ""))
        for element in ET.fromstring(canonical).iter()  # noqa: S314 - canonical forms have no entities
        if element.tag.rpartition("}")[2] == "testcase"
    ]


def names_of(report: Report) -> list[tuple[str, str]]:
    return [(case.classname, case.name) for suite in report.suites for case in suite.cases]


@every_attack
def test_verification_says_what_it_is(attack: Attack) -> None:
    data, trust = attack.make(), attack.trust()
    if attack.error is None:
        verified = verify_report(data, trust)
        canonical = builder.canonical(data)
        assert verified.canonical_hash == "sha256:" + hashlib.sha256(canonical).hexdigest()
        assert sorted(names_of(verified.report)) == sorted(names_in(canonical))
        assert verified.trusted_by
        return
    with pytest.raises(JuxError) as caught:
        verify_report(data, trust)
    assert type(caught.value) is attack.error, str(caught.value)
    assert attack.reason in str(caught.value)


@every_attack
def test_examination_says_the_same(attack: Attack) -> None:
    data, trust = attack.make(), attack.trust()
    if attack.state == "refused":
        with pytest.raises(ReportError, match=r"\w"):
            examine_report(data, trust)
        return
    found = examine_report(data, trust)
    assert found.state == attack.state
    assert attack.reason in found.reason
    assert (found.reason == "") is (attack.state == "trusted")
    assert (found.evidence is not None) is (attack.state in {"trusted", "intact"})
    assert found.canonical_hash == "sha256:" + hashlib.sha256(builder.canonical(data)).hexdigest()


def options_for(attack: Attack, directory: Path) -> list[str]:
    options = ["--at", NOW.isoformat()]
    trust = attack.trust()
    for option, trusted in (("--cert", trust.certificates), ("--ca", trust.authorities)):
        for number, certificate in enumerate(trusted):
            path = directory / f"{option[2:]}-{number}.pem"
            path.write_bytes(certificate_pem(certificate))
            options += [option, str(path)]
    return options


@every_attack
def test_jux_verify_says_the_same(attack: Attack, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_bytes(attack.make())
    arguments = [*options_for(attack, tmp_path), "--json", str(tmp_path / "report.xml")]
    before = sorted(tmp_path.iterdir())
    runner = CliRunner()

    result = runner.invoke(verify_command, arguments, standalone_mode=False)

    assert result.exception is None
    assert result.return_value == (0 if attack.state == "trusted" else 1)
    verdict = json.loads(result.stdout)
    assert verdict["valid"] is (attack.state == "trusted")
    assert verdict["state"] == ("unchecked" if attack.state == "refused" else attack.state)
    assert attack.reason in verdict["reason"]
    assert (verdict["signer"] is not None) is (attack.state in {"trusted", "intact"})
    assert sorted(tmp_path.iterdir()) == before


@every_attack
def test_jux_inspect_shows_the_verified_content(attack: Attack, tmp_path: Path) -> None:
    data = attack.make()
    (tmp_path / "report.xml").write_bytes(data)
    arguments = [*options_for(attack, tmp_path), "--json", str(tmp_path / "report.xml")]
    runner = CliRunner()

    result = runner.invoke(inspect_command, arguments, standalone_mode=False)

    assert result.exception is None
    if attack.state == "refused":
        assert result.return_value == 1
        assert attack.reason in result.stderr
        return
    assert result.return_value == 0
    shown = json.loads(result.stdout)
    assert shown["signature"]["state"] == attack.state
    assert attack.reason in shown["signature"]["reason"]
    if attack.state == "trusted":
        assert shown["tests"] == len(names_in(builder.canonical(data)))


@pytest.mark.parametrize("command", [verify_command, inspect_command], ids=["jux-verify", "jux-inspect"])
@pytest.mark.parametrize("name", ["signed as it is: terminal escapes and bidi overrides"])
def test_no_control_character_of_a_report_reaches_the_terminal(command, name: str, tmp_path: Path) -> None:
    (tmp_path / "\u202ereport.xml").write_bytes(CORPUS[name].make())
    arguments = [*options_for(CORPUS[name], tmp_path), str(tmp_path / "\u202ereport.xml")]

    result = CliRunner().invoke(command, arguments, standalone_mode=False)

    assert all(character.isprintable() or character == "\n" for character in result.output)


def test_the_corpus_is_large_and_varied() -> None:
    states = [attack.state for attack in CORPUS.values()]
    assert set(states) == {"trusted", "intact", "broken", "unchecked", "unsigned", "refused"}
    assert len(states) > 300
    assert min(states.count(state) for state in states) >= 4
