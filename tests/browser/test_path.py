"""The whole path in a real browser, on the real thing: sign in, start, work, stop, be charged once."""

from __future__ import annotations

import re
import time

import pytest
from conftest import Stack, signed_in
from playwright.sync_api import Browser, Page, expect

from portal.identity import person_id
from portal.ledger import Entry, faults
from portal.store import books, connect

PROTEINS = "AISS-2026-0001"
BOOKED_WITHIN = 60_000
"""Milliseconds from Stop to the charge (the promise made to people)."""


def ledger(stack: Stack) -> list[Entry]:
    engine = connect(stack.settings.database_url)
    with engine.begin() as db:
        links = list(books.chain(db))
    engine.dispose()
    assert list(faults(links)) == []
    return [link.entry for link in links]


def left(page: Page, code: str) -> float:
    """GPU-hours left of a grant, as home shows them."""
    grant = page.locator("li.grant", has_text=code)
    return float(grant.locator(".figure-value").first.inner_text().split("GPU")[0].replace(",", ""))


def test_the_whole_path(browser: Browser, stack: Stack) -> None:
    """From sign-in to exactly one charge, equal to billing x elapsed as sacct tells it."""
    with signed_in(browser, stack, "researcher") as context:
        page = context.pages[0]
        before = left(page, PROTEINS)
        notebook = start(page, gpus="2 GPUs")
        assert first_cell(page) == "0,1"

        home = context.new_page()
        home.goto(f"{stack.url}/hub/home")
        expect(home.get_by_text("Running", exact=True)).to_be_visible()
        expect(home.locator("li.grant", has_text=PROTEINS)).to_contain_text("2.0")
        job = job_of(stack, home)
        assert job["account"] == job["qos"] == "gaiss20260001"
        assert re.fullmatch(r"aisc-[0-9a-f]{32}", job["name"])
        assert "gres/gpu=2" in job["tres"]

        home.get_by_role("button", name="Stop").click()
        expect(home.get_by_text("its charge is booked")).to_be_visible(timeout=BOOKED_WITHIN)
        receipt = home.locator("dl.receipt").inner_text()
        for part in ("Used", "List price", "Subsidy 70 %", "Own share", "Left on the grant"):
            assert part in receipt

        charges = [entry for entry in ledger(stack) if entry.key.startswith(f"charge:aisc:{job['id']}:")]
        billing, elapsed = recorded(stack, job["id"])
        assert billing == 2000
        assert [-charge.amount for charge in charges] == [billing * elapsed]
        assert charges[0].person == person_id(stack.settings.identity.issuer, "researcher")

        home.goto(f"{stack.url}/hub/home")
        spent = billing * elapsed / 3_600_000
        assert left(home, PROTEINS) == pytest.approx(before - spent, abs=0.051)
        expect(home.locator("table.table")).to_contain_text("2 GPUs")
        notebook_gone(page, notebook)


def start(page: Page, gpus: str) -> str:
    """Choose grant, size and time, see the price, and start; the address of the notebook."""
    page.get_by_role("link", name="Other choices").click()
    page.locator("label.choice-card", has_text=PROTEINS).click()
    page.locator("label.choice-card", has_text=gpus).click()
    page.locator("label.choice-card", has_text=re.compile(r"^\s*1 h\s*$")).click()
    price = page.locator("aside, .price, .split").last
    for part in ("HK$60.00", "HK$42.00", "HK$18.00"):
        expect(price).to_contain_text(part)
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/lab**", timeout=60_000)
    return page.url


def first_cell(page: Page) -> str:
    """Open a notebook from the launcher and run one cell in it."""
    page.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=30_000)
    editor = page.locator(".jp-Notebook .cm-content").first
    editor.click()
    page.locator(".jp-Notebook.jp-mod-editMode").wait_for()
    page.keyboard.type("import os; print('seen', os.environ['CUDA_VISIBLE_DEVICES'])")
    page.keyboard.press("Shift+Enter")
    output = page.locator(".jp-OutputArea-output", has_text="seen")
    output.wait_for(timeout=30_000)
    return output.inner_text().split()[-1]


def job_of(stack: Stack, home: Page) -> dict[str, str]:
    """The one job that home shows, as Slurm describes it."""
    found = re.search(r"job (\d+)", home.locator("#live").inner_text())
    assert found
    names = ("id", "account", "qos", "name", "tres")
    row = stack.cluster.run(
        "squeue", "-h", "-j", found[1], "-O", "JobID:|,Account:|,QOS:|,Name:100|,tres-alloc:200"
    )
    return dict(zip(names, (cell.strip() for cell in row.split("|")), strict=True))


def recorded(stack: Stack, job: str) -> tuple[int, int]:
    """Billing and elapsed seconds of a job, from Slurm's own accounting."""
    tres, elapsed = (
        stack.cluster.run("sacct", "-nPX", "-j", job, "-o", "alloctres,elapsedraw").strip().split("|")
    )
    billing = dict(part.split("=") for part in tres.split(","))["billing"]
    return int(billing), int(elapsed)


def notebook_gone(page: Page, address: str) -> None:
    """Its address leads to the hub, which says that nothing runs."""
    page.goto(address)
    expect(page).not_to_have_url(address)


def test_a_job_from_a_shell_appears_live(browser: Browser, stack: Stack) -> None:
    """On the queue within 10 s without a reload, and on home, whatever its origin."""
    with signed_in(browser, stack, "pi") as context:
        queue = context.new_page()
        queue.goto(f"{stack.settings.web.service_origin('dash')}/services/dash/queue")
        expect(queue.get_by_role("heading", name="Nodes")).to_be_visible(timeout=20_000)
        options = (
            "--account=gaiss20260001",
            "--partition=gpu",
            "--gres=gpu:h800:1",
            "--mem=1000",
            "--time=5",
        )
        job = stack.cluster.run(
            "sbatch", "--parsable", *options, "--job-name=from-a-shell", "--wrap=sleep 60"
        ).strip()
        expect(queue.get_by_text("from-a-shell")).to_be_visible(timeout=10_000)
        home = context.pages[0]
        home.goto(f"{stack.url}/hub/home")
        expect(home.locator("#live strong", has_text="from-a-shell")).to_be_visible()
        allocation = context.new_page()
        allocation.goto(f"{stack.settings.web.service_origin('dash')}/services/dash/allocation")
        expect(allocation.get_by_text("Protein language models")).to_be_visible(timeout=20_000)
        stack.cluster.run("scancel", job)
        expect(queue.get_by_text("from-a-shell")).not_to_be_visible(timeout=10_000)


def test_without_a_second_factor_nobody_gets_in(browser: Browser, stack: Stack) -> None:
    """A page that says so, and no sign-in."""
    with signed_in(browser, stack, "nomfa") as context:
        expect(context.pages[0].get_by_role("heading", name="second factor")).to_be_visible()
        context.pages[0].goto(f"{stack.url}/hub/home")
        expect(context.pages[0]).to_have_url(re.compile("/hub/login"))


def test_an_outsider_sees_whom_to_ask_and_nothing_else(browser: Browser, stack: Stack) -> None:
    """Home and form say the same sentence; every start is refused."""
    with signed_in(browser, stack, "outsider") as context:
        page = context.pages[0]
        expect(page.get_by_text("You have no grant yet").first).to_be_visible()
        expect(page.locator("main")).to_contain_text(stack.settings.site.contact)
        for gone in ("My grants", "Sessions and jobs", "Other choices"):
            expect(page.get_by_text(gone)).to_have_count(0)
        page.goto(f"{stack.url}/hub/spawn")
        expect(page.get_by_text("You have no grant yet").first).to_be_visible()
        expect(page.get_by_role("button", name="Start")).to_have_count(0)


def test_no_page_loads_anything_from_elsewhere(browser: Browser, stack: Stack) -> None:
    """Portal, form, dashboards: every request stays on this machine."""
    asked: set[str] = set()
    with signed_in(browser, stack, "instructor") as context:
        context.on("request", lambda request: asked.add(request.url.split("/")[2]))
        page = context.pages[0]
        dash = stack.settings.web.service_origin("dash")
        for address in (
            f"{stack.url}/hub/home",
            f"{stack.url}/hub/spawn",
            f"{dash}/services/dash/allocation",
        ):
            page.goto(address)
            time.sleep(1)
    assert asked
    assert all(host.split(":")[0].endswith("localhost") or host.startswith("127.0.0.1") for host in asked), (
        asked
    )
