"""What a page must not do is noticed by the tests that look at pages."""

from __future__ import annotations

import pytest
from browser import visiting

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MISDEEDS = {
    "console.error('oh')": "console: oh",
    "console.warn('oh')": "console: oh",
    "setTimeout(() => { throw new Error('oh'); })": "script: ",
    "document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))": "policy: script-src",
    "document.body.setAttribute('style', 'color: red')": "policy: style-src",
    "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))": "policy: img-src",
    "fetch('http://127.0.0.1:9/').catch(() => 0)": "policy: connect-src",
    "location.href = 'http://127.0.0.1:9/'": "another host: http://127.0.0.1:9/",
    "fetch('/nothing-there')": "status 404",
    "setTimeout(() => alert('oh'))": "dialog: oh",
}


@pytest.mark.parametrize("deed", MISDEEDS)
def test_misdeeds_of_a_page_fail_the_test(browser, server, deed):
    with (  # noqa: PT012 - all of the visit is what is judged
        pytest.raises(AssertionError) as told,
        visiting(browser, server.url) as visit,
    ):
        visit.open("/")
        visit.page.evaluate(f"() => {{ {deed} }}")
        for _ in range(200):
            if any(MISDEEDS[deed] in wrong for wrong in visit.wrongs()):
                break
            visit.page.wait_for_timeout(50)
    assert MISDEEDS[deed] in str(told.value)


def test_a_refusal_that_was_expected_is_none(browser, server):
    with visiting(browser, server.url) as visit:
        visit.open("/projects/nobody", status=404)


def test_what_keeps_people_out_is_found(browser, server):
    with visiting(browser, server.url) as visit:
        page = visit.open("/")
        page.evaluate("() => { document.querySelector('main').append(document.createElement('input')); }")
        assert [one.split(":")[0] for one in visit.violations()] == ["label"]
        assert not visit.is_too_wide()
        page.evaluate("() => { document.querySelector('h1').textContent = 'x'.repeat(900); }")
        page.locator("h1").evaluate("one => { one.style.whiteSpace = 'nowrap'; one.style.overflowWrap = 'normal'; }")
        assert visit.is_too_wide()
