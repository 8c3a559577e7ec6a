"""Every page there is, in one list: who sees it, and how one gets there.

A `Scene` is the centre with something going on in it: a session that runs, one that waits, one that has ended, a job
from a shell, a start that failed. A page that is new needs one line in `PAGES`, and is then checked for accessibility,
for narrow screens and large type, and is in the pictures of `make screenshots`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from conftest import Stack, signed_in
from playwright.sync_api import Browser, BrowserContext, StorageState, expect
from playwright.sync_api import Page as Tab

from portal.identity import person_id

LANGUAGES = {"en": "en-GB", "zh": "zh-HK"}
"""Short name of a language, and what a browser is set to."""
THEMES = ("light", "dark")
PEOPLE = ("researcher", "pi", "instructor", "operator", "officer", "outsider")
PROTEINS, CATALYSTS, WORKSHOPS, FLOODS = (f"AISS-2026-000{number}" for number in (1, 2, 4, 5))
START_SECONDS = 60
OVER = re.compile("booked|nothing is charged|without ever starting")
"""What a receipt says in English at the end."""


@dataclass
class Scene:
    """The centre at work. people: the signed-in browser of each. receipt: the session that has ended."""

    stack: Stack
    people: dict[str, StorageState] = field(default_factory=dict)
    receipt: str = ""
    jobs: list[str] = field(default_factory=list)

    @property
    def hub(self) -> str:
        return f"{self.stack.url}/hub"

    @property
    def portal(self) -> str:
        return f"{self.stack.settings.web.service_origin('portal')}/services/portal"

    @property
    def dash(self) -> str:
        return f"{self.stack.settings.web.service_origin('dash')}/services/dash"

    def id_of(self, who: str) -> str:
        """What the hub calls this person."""
        return person_id(self.stack.settings.identity.issuer, who)

    def pending(self, who: str) -> str:
        return f"{self.hub}/spawn-pending/{self.id_of(who)}"

    def fill(self) -> None:
        """Jobs from a shell, such that no session with a GPU can start beside them, and one that waits behind them."""
        for name, gpus in (("fold-2", 8), ("align", 8), ("tune", 8), ("sweep", 7), ("ablation", 8)):
            self.jobs.append(self.submit(name, f"--gres=gpu:h800:{gpus}", "--mem=1000"))

    def submit(self, name: str, *options: str) -> str:
        """A job of the project of proteins, as from a shell; its id."""
        shown = self.stack.cluster.run(
            *("sbatch", "--parsable", "--account=gaiss20260001", "--partition=gpu", "--time=20"),
            *(f"--job-name={name}", "--output=/dev/null", "--wrap=sleep 1200", *options),
        )
        return shown.strip()

    def empty(self) -> None:
        """End every job of this scene's."""
        if self.jobs:
            self.stack.cluster.run("scancel", *self.jobs)
        self.jobs.clear()


@dataclass(frozen=True)
class Page:
    """One page. who: the person who sees it, empty for one who has not signed in. reach: go there in a new tab.

    ready: what must be visible before it is looked at. ours: False for a page that stands for another system, which
    brings languages of its own.
    """

    name: str
    who: str
    reach: Callable[[Tab, Scene], object]
    ready: str = "main h1"
    ours: bool = True


def hub(path: str) -> Callable[[Tab, Scene], object]:
    return lambda tab, scene: tab.goto(f"{scene.hub}/{path}")


def portal(path: str) -> Callable[[Tab, Scene], object]:
    return lambda tab, scene: tab.goto(f"{scene.portal}/{path}")


def dash(path: str) -> Callable[[Tab, Scene], object]:
    return lambda tab, scene: tab.goto(f"{scene.dash}/{path}")


def _provider(tab: Tab, scene: Scene) -> None:
    tab.goto(f"{scene.hub}/login")
    tab.click("#sign-in")


def _second_factor(tab: Tab, scene: Scene) -> None:
    _provider(tab, scene)
    tab.fill("#login", "officer")
    tab.fill("#password", "approvals-2026")
    tab.click("button[type=submit]")


def _no_second_factor(tab: Tab, scene: Scene) -> None:
    _provider(tab, scene)
    tab.fill("#login", "nomfa")
    tab.fill("#password", "password-2026")
    tab.click("button[type=submit]")


def _receipt_so_far(tab: Tab, scene: Scene) -> None:
    tab.goto(f"{scene.portal}/")
    tab.locator("a[href*='/sessions/']").first.click()


def _cancel_job(tab: Tab, scene: Scene) -> None:
    tab.goto(f"{scene.portal}/")
    tab.locator("a[href$='/cancel']").first.click()


def _refused(tab: Tab, scene: Scene) -> None:
    """A choice that the form cannot make."""
    tab.goto(f"{scene.hub}/spawn")
    tab.evaluate(
        "document.querySelector('input[name=minutes]:checked').value = '7';"
        "document.getElementById('spawn_form').submit()"
    )
    tab.wait_for_selector("#start-refused")


PAGES = (
    Page("signin", "", hub("login")),
    Page("provider", "", _provider, "#login", ours=False),
    Page("second-factor", "", _second_factor, "h1", ours=False),
    Page("no-second-factor", "", _no_second_factor),
    Page("help", "", portal("help"), "main h1"),
    Page("privacy", "", portal("privacy")),
    Page("terms", "", portal("terms")),
    Page("help-pi", "pi", portal("help/pi")),
    Page("welcome", "researcher", portal("welcome")),
    Page("report", "researcher", portal("report")),
    Page("signed-out", "", hub("signed-out")),
    Page("home", "researcher", portal(""), "#live"),
    Page("home-waiting", "pi", portal(""), "#live"),
    Page("home-empty", "outsider", portal(""), "#live"),
    Page("notices", "pi", portal("notices")),
    Page("notices-empty", "outsider", portal("notices")),
    Page("notice-settings", "pi", portal("notices/settings")),
    Page("start", "instructor", hub("spawn")),
    Page("start-refused", "instructor", _refused),
    Page("start-closed", "outsider", hub("spawn")),
    Page("waiting", "pi", lambda tab, scene: tab.goto(scene.pending("pi"))),
    Page("not-started", "operator", lambda tab, scene: tab.goto(scene.pending("operator"))),
    Page("audit", "officer", portal("audit")),
    Page("alarms", "operator", portal("audit")),
    Page("not-running", "officer", lambda tab, scene: tab.goto(scene.pending("officer"))),
    Page("receipt", "instructor", lambda tab, scene: tab.goto(f"{scene.portal}/sessions/{scene.receipt}")),
    Page("receipt-so-far", "researcher", _receipt_so_far),
    Page("audit", "officer", portal("audit")),
    Page("notices", "researcher", portal("notices")),
    Page("notice-settings", "researcher", portal("notices/settings")),
    Page("job-cancel", "pi", _cancel_job),
    Page("portal-404", "researcher", portal("nothing-here")),
    Page("hub-404", "researcher", hub("nothing-here")),
    Page("tokens", "researcher", hub("token"), "h1"),
    Page("allocation", "researcher", dash("allocation"), ".dashboard h2"),
    Page("queue", "researcher", dash("queue"), ".dashboard h2"),
)


def start(tab: Tab, scene: Scene, grant: str, size: str, minutes: int = 60) -> None:
    """Start a session by a link that carries the choice, and leave it at that."""
    tab.goto(f"{scene.portal}/start?grant={grant}&size={size}&minutes={minutes}")
    tab.click("#start")
    tab.wait_for_url(re.compile("/spawn-pending/|/lab"))


def session_of(tab: Tab, scene: Scene) -> str:
    """The id of this person's latest session, as home links it; empty where there is none."""
    tab.goto(f"{scene.portal}/")
    links = tab.locator("a[href*='/sessions/']").all()
    return (links[0].get_attribute("href") or "").rpartition("/")[2] if links else ""


@contextmanager
def scene(browser: Browser, stack: Stack) -> Iterator[Scene]:
    """The centre at work; all of it ends with the context."""
    made = Scene(stack)
    with ExitStack() as people:
        tabs: dict[str, Tab] = {}
        for who in PEOPLE:
            context = people.enter_context(signed_in(browser, stack, who))
            tabs[who] = context.pages[0]
        try:
            _set_going(made, tabs)
            made.people = {who: tab.context.storage_state() for who, tab in tabs.items()}
            yield made
        finally:
            made.empty()
            for who in ("researcher", "pi"):
                stop(tabs[who], made)


def _set_going(made: Scene, tabs: dict[str, Tab]) -> None:
    start(tabs["researcher"], made, PROTEINS, "gpu1", 240)
    start(tabs["instructor"], made, WORKSHOPS, "gpu1", 120)
    start(tabs["operator"], made, FLOODS, "cpu")
    _cancel_start(tabs["operator"], made)
    tabs["researcher"].wait_for_url("**/lab**", timeout=START_SECONDS * 1000)
    tabs["instructor"].wait_for_url("**/lab**", timeout=START_SECONDS * 1000)
    made.receipt = session_of(tabs["instructor"], made)
    stop(tabs["instructor"], made)
    made.fill()
    start(tabs["pi"], made, PROTEINS, "gpu4", 480)


def _cancel_start(tab: Tab, scene: Scene) -> None:
    """The start of this person fails: the job is cancelled behind the back of the hub before it is ready."""
    session = session_of(tab, scene)
    scene.stack.cluster.run("scancel", f"--name=aisc-{session}")
    tab.goto(scene.pending("operator"))
    expect(tab.locator("#start")).to_be_visible(timeout=START_SECONDS * 1000)


def stop(tab: Tab, scene: Scene) -> None:
    """Stop this person's session, and see it end; nothing happens where there is none."""
    session = session_of(tab, scene)
    if not session:
        return
    tab.goto(f"{scene.portal}/sessions/{session}")
    button = tab.locator("form[action$='/stop'] button")
    if button.count():
        button.first.click()
        expect(tab.locator("#receipt")).to_contain_text(OVER, timeout=START_SECONDS * 1000)


def seen_by(browser: Browser, scene: Scene, who: str, language: str) -> BrowserContext:
    """A browser of this person, in this language."""
    return browser.new_context(
        locale=LANGUAGES[language],
        viewport={"width": 1280, "height": 900},
        reduced_motion="reduce",
        storage_state=scene.people.get(who),
        bypass_csp=True,
    )
