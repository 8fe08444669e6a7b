"""The final report in a real browser: quiet, harmless, and readable on every surface."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fakes.incidents import FINDINGS, a_collection, after, an_incident
from kubecase.core.model import Cause, Exit, Gap, Investigation, Reason, Rejected, Status
from kubecase.core.redact import Redactor
from kubecase.core.report import Evidence, Report
from kubecase.service.report import FinalReport, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.xdist_group("browser"),
]

LONG = "signer-6zl45p727k-jqglx." * 12
AGENT_REPORT = f"""# Kubernetes Incident Triage Report

## 3. Root Cause Analysis

### H1: the Secret is gone (Confidence: High)

| {LONG} | b | c | d | e |
|---|---|---|---|---|
| 1 | `{LONG}` | 3 | 4 | {LONG} |

```
{LONG * 4}
```

> {LONG}

1. [the runbook](https://runbooks.example.com/{LONG})
"""
TRICKS = """
<script>document.title='owned'</script>
<img src="http://192.0.2.1/a.png" onerror="document.title='owned'">
![leak](http://192.0.2.1/leak.png)
[click](javascript:document.title='owned')
[data](data:text/html,<script>document.title='owned'</script>)
<svg onload="document.title='owned'"></svg>
<iframe src="http://192.0.2.1/"></iframe>
<form action="http://192.0.2.1/"><button>x</button></form>
<meta http-equiv="refresh" content="0;url=http://192.0.2.1/">
<style>body { display: none } @import url(http://192.0.2.1/x.css);</style>
<link rel="stylesheet" href="http://192.0.2.1/x.css">
<base href="http://192.0.2.1/">
</pre></section></main><h1>owned</h1>
"""


def a_page(text: str, status: Status = Status.SUCCESS, hostile: str = "") -> str:
    failed = status is Status.FAILED
    first = FINDINGS.hypotheses[0]
    if hostile:
        first = replace(
            first, root_cause=hostile, next_steps=(hostile,),
            evidence=(Evidence(source=hostile, quote=hostile),),
        )  # fmt: skip
    wide = hostile or LONG
    return render(
        FinalReport(
            incident=an_incident(message=wide, reason=wide, cluster=wide),
            investigation=Investigation(
                incident_id=an_incident().id, attempt=1, agent="claude", status=status,
                reason=Reason.EXIT_CODE if failed else None, error=wide if failed else None,
                created_at=after(1), started_at=after(2), ended_at=after(200),
                exit=Exit(cause=Cause.EXITED, code=3, signal=None, seconds=1, clean=True),
                rejected=(Rejected(path=wide, why=wide),), isolation="process",
            ),
            findings=Report(summary=wide, hypotheses=(first, *FINDINGS.hypotheses[1:])),
            agent_report=text, log_tail=wide * 5, notes=(wide,), isolation_notes=(wide,),
            collection=a_collection(logs={wide: "x"}, gaps=(Gap(what=wide, why=wide),)),
        ),
        Redactor(),
    )["html"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for all tests of this file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened, and everything it tried to do."""

    def __init__(self, browser: Any, file: Path, width: int, **context: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page = browser.new_page(viewport={"width": width, "height": 900}, **context)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.goto(file.as_uri())


def opened(browser: Any, tmp_path: Path, page: str, width: int = 1200, **context: Any) -> Visit:
    file = tmp_path / "final-report.html"
    file.write_text(page)
    return Visit(browser, file, width, **context)


@pytest.mark.parametrize("width", [320, 390, 1200])
@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED, Status.TIMEOUT])
def test_the_page_fits_its_screen_and_is_quiet(
    browser: Any, tmp_path: Path, width: int, status: Status
) -> None:
    """On a phone and a desk nothing overflows, no error is logged, no request leaves."""
    visit = opened(browser, tmp_path, a_page(AGENT_REPORT, status), width)

    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.said == []
    assert visit.asked == [(tmp_path / "final-report.html").as_uri()]


def test_a_hostile_report_stays_inert(browser: Any, tmp_path: Path) -> None:
    """Thirteen tricks in every field change nothing, load nothing and run nothing."""
    visit = opened(browser, tmp_path, a_page(TRICKS, Status.FAILED, hostile=TRICKS), 390)
    for link in visit.page.locator("a").all():
        assert link.get_attribute("href", timeout=2000) is None or link.get_attribute(
            "href"
        ).startswith("http")

    assert visit.page.title() != "owned"
    assert visit.page.locator("h1").count() == 1
    forbidden = "script, img, svg, iframe, form, button, object, embed, base, link"
    assert visit.page.locator(forbidden).count() == 0
    assert visit.page.locator("style").count() == 1
    assert visit.page.locator("main").is_visible()
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visit.said == []
    assert len(visit.asked) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes(browser: Any, tmp_path: Path, scheme: str) -> None:
    """Every text stands out from what is behind it by at least 4.5 to 1 (WCAG AA)."""
    page = a_page(AGENT_REPORT, Status.FAILED)
    visit = opened(browser, tmp_path, page, color_scheme=scheme)

    low = visit.page.evaluate(CONTRAST)

    assert low == []


def test_headings_descend_one_level_at_a_time(browser: Any, tmp_path: Path) -> None:
    """A reader by ear finds one h1 and no skipped level, also within the agent's report."""
    visit = opened(browser, tmp_path, a_page(AGENT_REPORT))

    levels = [
        int(name[1])
        for name in visit.page.eval_on_selector_all(
            "h1,h2,h3,h4,h5,h6", "all => all.map(e => e.tagName)"
        )
    ]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_the_printed_report_is_complete(browser: Any, tmp_path: Path) -> None:
    """On paper what is folded away on the screen is there, and no page is cut at its side."""
    visit = opened(browser, tmp_path, a_page(AGENT_REPORT), 700)
    visit.page.emulate_media(media="print")

    folded = visit.page.locator("details:not([open])")
    assert folded.count() >= 1
    for n in range(folded.count()):
        box = folded.nth(n).bounding_box()
        summary = folded.nth(n).locator("summary").bounding_box()
        assert box["height"] > summary["height"] + 20
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 700
    pdf = visit.page.pdf(format="A4")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2


CONTRAST = """() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const e of document.querySelectorAll('body *')) {
    const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${e.tagName}.${e.className} ${ratio.toFixed(2)}`);
  }
  return low;
}"""
