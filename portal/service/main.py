"""The service itself: one FastAPI application on one loopback port."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from portal import look, reasons
from portal.locale import COOKIE, negotiate
from portal.notices.post import Post
from portal.service import (
    admission,
    audit_pages,
    documents,
    frame,
    home,
    internal,
    jobs,
    keeping,
    notice_pages,
    pages,
    report,
    welcome,
)
from portal.service.access import BASE, Denied, Door, HubAway, SignedOut, Staff
from portal.service.admission import RefusedStart, SlurmUnknown
from portal.service.auditing import TOKEN_SECONDS, Auditor
from portal.service.desk import Desk
from portal.service.verifying import Verifier
from portal.service.words import Words
from portal.settings import Settings
from portal.store import BEYOND, Store, Writer, connect, writer

log = logging.getLogger("portal.service")

SAFE = {"GET", "HEAD", "OPTIONS"}
PATIENCE = 30
"""Seconds that a start waits for a database which does not answer yet."""


class Kept(StaticFiles):
    """Style sheets, fonts and scripts, which a browser keeps where the address names the version."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = look.keeping(path, b"v=" in scope["query_string"])
        return response


def create(settings: Settings, store: Store) -> FastAPI:
    """The application over an open store."""
    app = FastAPI(
        title="Research portal", openapi_url=None, docs_url=None, redoc_url=None, lifespan=_background
    )
    app.state.desk = Desk(settings, store)
    app.state.door = Door(settings)
    app.state.staff = Staff(settings)
    app.state.auditor = Auditor(app.state.desk)
    app.state.verifier = Verifier(app.state.desk)
    app.include_router(internal.router)
    app.include_router(home.router)
    app.include_router(pages.router)
    app.include_router(jobs.router)
    app.include_router(jobs.waiting)
    app.include_router(audit_pages.router)
    app.include_router(welcome.router)
    app.include_router(report.router)
    app.include_router(notice_pages.router)
    app.mount(f"{BASE}/static/look", Kept(directory=look.FOLDER))
    app.mount(f"{BASE}/static", Kept(directory=frame.BUILT, check_dir=False))
    app.middleware("http")(_guard)
    _answers(app)
    return app


@asynccontextmanager
async def _background(app: FastAPI) -> AsyncIterator[None]:
    """What goes on while the service runs, beside its requests."""
    post = Post(app.state.desk)
    post.start()
    yield
    await run_in_threadpool(post.stop)


async def _guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what another page sends with the person's cookie; tell the browser what this page may do."""
    door: Door = request.app.state.door
    path = request.url.path
    by_cookie = path.startswith(f"{BASE}/") and not path.startswith(f"{BASE}/api/")
    if by_cookie and request.method not in SAFE and request.headers.get("origin") != door.origin:
        request.app.state.auditor.hear(
            "access.denied", subject="portal", where=frame.address_of(request), reason="origin"
        )
        response = frame.error_page(request, _words(request), "origin")
    else:
        response = await call(request)
    return _bound(request, response)


def _bound(request: Request, response: Response) -> Response:
    """The response, with what its page may do in the browser."""
    hub = request.app.state.desk.settings.web.url
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
        f"connect-src 'self'; form-action 'self' {hub}; frame-ancestors 'none'; base-uri 'none'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _area(request: Request) -> str:
    """What was asked for, in the words of our routes: an address may hold anything."""
    path = str(getattr(request.scope.get("route"), "path", ""))
    return (path.removeprefix(f"{BASE}/").removeprefix("/") or "portal")[:200]


def _words(request: Request) -> Words:
    language = negotiate(request.headers.get("accept-language"), request.cookies.get(COOKIE))
    return Words(request.app.state.desk.settings, language)


def _answers(app: FastAPI) -> None:
    """How each failure reads: JSON with a message for processes, a page with the next step for people."""

    def told(request: Request, status: int, message: str, code: str, field: str = "") -> Response:
        return JSONResponse({"message": message, "code": code, "field": field}, status)

    def said(request: Request, status: int, code: str, **values: object) -> Response:
        return told(request, status, reasons.say(code, _words(request).language, **values), code)

    def internal_call(request: Request) -> bool:
        return not request.url.path.startswith(f"{BASE}/") or request.url.path.startswith(f"{BASE}/api/")

    @app.exception_handler(RefusedStart)
    async def refused(request: Request, error: RefusedStart) -> Response:
        if error.asked:
            app.state.auditor.hear(
                "session.refused", error.asked.person, "", error.asked.where, error.refusal.code
            )
        words = Words(app.state.desk.settings, getattr(request.state, "language", "en"))
        return told(request, 400, words.refusal(error.refusal), error.refusal.code, error.refusal.field)

    @app.exception_handler(SlurmUnknown)
    async def unknown(request: Request, error: SlurmUnknown) -> Response:
        return said(request, 503, "slurm-unknown")

    @app.exception_handler(SignedOut)
    async def signed_out(request: Request, error: SignedOut) -> Response:
        if request.method == "GET" and "hx-request" not in request.headers:
            door: Door = app.state.door
            return door.to_sign_in(request)
        return Response(status_code=403, headers={"HX-Refresh": "true"})

    @app.exception_handler(documents.NotAccepted)
    async def not_accepted(request: Request, error: documents.NotAccepted) -> Response:
        if internal_call(request):
            return said(request, 403, admission.NOT_YET_ACCEPTED.code)
        if "hx-request" in request.headers:
            return Response(status_code=403, headers={"HX-Refresh": "true"})
        return welcome.to_welcome(request)

    @app.exception_handler(HubAway)
    async def hub_away(request: Request, error: HubAway) -> Response:
        return frame.hub_away_page(request, _words(request), error.since)

    @app.exception_handler(Denied)
    async def denied(request: Request, error: Denied) -> Response:
        auditor, where = app.state.auditor, frame.address_of(request)
        if not internal_call(request):
            auditor.hear("access.denied", error.who, _area(request), where, error.reason)
            return frame.error_page(request, _words(request), "denied")
        if auditor.bad_token(_area(request), where):
            response = said(request, 429, "too-many")
            response.headers["Retry-After"] = str(TOKEN_SECONDS)
            return response
        return said(request, 403, "denied")

    @app.exception_handler(frame.Missing)
    async def missing(request: Request, error: frame.Missing) -> Response:
        return frame.error_page(request, _words(request), "missing")

    @app.exception_handler(pages.StopFailed)
    async def stop_failed(request: Request, error: pages.StopFailed) -> Response:
        return frame.error_page(request, _words(request), "stop")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if internal_call(request):
            return told(request, error.status_code, str(error.detail), "http")
        what = "missing" if error.status_code in (404, 405) else "invalid"
        return frame.error_page(request, _words(request), what if error.status_code < 500 else "broken")

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][-1])
        if internal_call(request):
            message = reasons.say("not-understood", _words(request).language, field=field)
            return told(request, 400, message, "invalid", field)
        return frame.error_page(request, _words(request), "invalid")

    async def beyond(request: Request, error: Exception) -> Response:
        """A number or a letter that no database can hold: no error of ours, and not to be told again unchanged."""
        log.warning(
            "%s %s holds what cannot be kept: %s", request.method, _area(request), type(error).__name__
        )
        if internal_call(request):
            return said(request, 400, "not-understood", field="?")
        return frame.error_page(request, _words(request), "missing" if request.method in SAFE else "invalid")

    for kind in BEYOND:
        app.add_exception_handler(kind, beyond)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        if internal_call(request):
            return said(request, 500, "broken")
        return _bound(request, frame.error_page(request, _words(request), "broken"))


def run(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        StoreError: another process writes the database, nobody migrated it, it cannot be reached, or it went away and
            the writer's lock with it: whoever supervises this process starts it again, which waits for the database.
    """
    engine = connect(settings.database_url)
    with ExitStack() as held:
        held.callback(engine.dispose)
        lock = held.enter_context(writer(engine, PATIENCE))
        app = create(settings, Store(engine, lock))
        state = app.state
        held.enter_context(keeping.kept(state.desk, state.auditor, state.verifier))
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=settings.web.portal_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        server = uvicorn.Server(config)
        threading.Thread(target=_end_without, args=(lock, server), daemon=True).start()
        server.run()
        lock.check()


def _end_without(lock: Writer, server: uvicorn.Server) -> None:
    """End the service soon after it lost the writer's lock."""
    while not server.should_exit:
        time.sleep(1)
        if not lock.held():
            server.should_exit = True
