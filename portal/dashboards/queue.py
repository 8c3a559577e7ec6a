"""The queue dashboard: how many GPUs are at work, on which nodes, which jobs run, which wait and why."""

from __future__ import annotations

from portal import reasons
from portal.client import Client, LiveNode, Queue, QueueJob
from portal.dashboards import live
from portal.dashboards.pieces import Reader, as_at, duration, figure, gpus, status, text

REGIONS = ("title", "age", "notice", "figures", "mine", "waiting", "running", "nodes")
ROWS = 100
"""Jobs of a table at most; one's own come first, and the rest is counted."""

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
OUT = ("DOWN", "ERROR", "FAIL", "UNKNOWN", "FUTURE", "NOT_RESPONDING", "POWERED_DOWN", "INVALID")


def show() -> None:
    """Draw the dashboard in the notebook and keep it up to date."""
    live.show(REGIONS, _read, render)


async def _read(client: Client, reader: Reader) -> Queue:
    return await client.queue(reader.language)


def render(view: Queue, reader: Reader) -> dict[str, str]:
    """The page in pieces: region > HTML."""
    _ = reader.say
    top = {
        "title": f'<h1 class="page-title">{text(_("What the cluster is doing"))}</h1>',
        "age": as_at(view.as_at, reader),
    }
    if view.as_at is None:
        return top
    waiting = [job for job in view.jobs if job.state in WAITING]
    running = [job for job in view.jobs if job.state not in WAITING]
    return top | {
        "figures": _figures(view, waiting, running, reader),
        "mine": _mine(waiting, running, reader),
        "waiting": _waiting(waiting, view.at, reader),
        "running": _running(running, view.at, reader),
        "nodes": _nodes(view.nodes, reader),
    }


def out_of_service(node: LiveNode) -> bool:
    """Whether Slurm starts nothing there: `state` is a base word with flags joined by `+`."""
    words = node.state.upper().rstrip("*~#!%$@^-").split("+")
    return any(word in OUT or word.startswith(("DRAIN", "MAINT")) for word in words) or node.state.endswith(
        "*"
    )


def _figures(view: Queue, waiting: list[QueueJob], running: list[QueueJob], reader: Reader) -> str:
    _ = reader.say
    used = sum(node.gpus_used for node in view.nodes)
    total = sum(node.gpus for node in view.nodes)
    missing = sum(node.gpus for node in view.nodes if out_of_service(node))
    label = _("GPUs at work")
    if missing:
        label += " · " + _("%(gpus)s of %(total)s out of service") % {
            "gpus": gpus(missing),
            "total": gpus(total),
        }
    return (
        '<div class="figure-row">'
        + figure(gpus(used), _("of %(total)s") % {"total": gpus(total)}, label, "figure-large")
        + figure(f"{len(running):,}", _("jobs"), _("running"), "figure-small")
        + figure(f"{len(waiting):,}", _("jobs"), _("waiting"), "figure-small")
        + "</div>"
    )


def _mine(waiting: list[QueueJob], running: list[QueueJob], reader: Reader) -> str:
    _ = reader.say
    mine = sum(job.mine for job in running), sum(job.mine for job in waiting)
    if not any(mine):
        return f'<p class="lede">{text(_("None of these jobs is yours."))}</p>'
    words = _("Yours: %(running)d running, %(waiting)d waiting.") % {"running": mine[0], "waiting": mine[1]}
    return f'<p class="lede">{text(words)}</p>'


def _table(title: str, columns: list[str], rows: list[tuple[bool, list[str]]], more: str, none: str) -> str:
    """A region with a table. Cells are HTML already escaped; the second is a number."""
    if not rows:
        return f'<section class="region"><h2>{text(title)}</h2><p class="quiet">{text(none)}</p></section>'
    heads = "".join(
        f'<th scope="col"{_number(index)}>{text(column)}</th>' for index, column in enumerate(columns)
    )
    lines = "".join(
        f'<tr class="{"mine" if mine else ""}">'
        + "".join(
            f'<td{_number(index)} data-label="{text(columns[index])}">{cell}</td>'
            for index, cell in enumerate(cells)
        )
        + "</tr>"
        for mine, cells in rows
    )
    tail = f'<p class="small quiet">{text(more)}</p>' if more else ""
    return (
        f'<section class="region"><h2>{text(title)}</h2>'
        f'<div class="table-scroll table-stack" tabindex="0" role="region" aria-label="{text(title)}">'
        f'<table class="table"><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>{tail}</section>'
    )


def _number(index: int) -> str:
    return ' class="number"' if index == 1 else ""


def _first(jobs: list[QueueJob], reader: Reader) -> tuple[list[QueueJob], str]:
    """The jobs to list, one's own first and otherwise in the order given, and a word about the others."""
    _ = reader.say
    ordered = sorted(jobs, key=lambda job: not job.mine)
    left = len(ordered) - ROWS
    return ordered[:ROWS], _("and %(jobs)s more") % {"jobs": f"{left:,}"} if left > 0 else ""


def _name(job: QueueJob, reader: Reader) -> str:
    _ = reader.say
    if not job.mine:
        return f'<span class="quiet">{job.id}</span>'
    return f'{text(job.label) or job.id} <span class="small quiet">{job.id} · {text(_("yours"))}</span>'


def _size(job: QueueJob, reader: Reader) -> str:
    _ = reader.say
    return text(gpus(job.gpus) if job.gpus else _("CPU only"))


def _waiting(jobs: list[QueueJob], now: int, reader: Reader) -> str:
    _ = reader.say
    listed, more = _first(jobs, reader)
    rows = [
        (
            job.mine,
            [
                _name(job, reader),
                _size(job, reader),
                text(job.partition),
                text(duration(now - job.submit, reader)),
                _why(job, reader),
            ],
        )
        for job in listed
    ]
    columns = [_("Job"), _("GPUs"), _("Partition"), _("Waiting for"), _("Why")]
    return _table(_("Waiting"), columns, rows, more, _("No job is waiting."))


def _why(job: QueueJob, reader: Reader) -> str:
    """Who has to act, and why it waits; a reason that nobody explains yet as Slurm wrote it, with a link to help."""
    _ = reader.say
    if not job.reason:
        return ""
    words = reasons.told(job.reason, reader.language)
    if not words.known:
        more = f' <a href="{text(reader.help)}">{text(_("What does this mean?"))}</a>' if reader.help else ""
        return f'<span class="why">{text(job.reason)}{more}</span>'
    said = reasons.joined([words.what, words.step], reader.language)
    return f'<span class="why">{status(words.mark, words.word)} {text(said)}</span>'


def _running(jobs: list[QueueJob], now: int, reader: Reader) -> str:
    _ = reader.say
    listed, more = _first(jobs, reader)
    rows = [
        (job.mine, [_name(job, reader), _size(job, reader), text(job.nodes), _since(job, now, reader)])
        for job in listed
    ]
    columns = [_("Job"), _("GPUs"), _("Nodes"), _("Time left")]
    return _table(_("Running"), columns, rows, more, _("No job is running."))


def _since(job: QueueJob, now: int, reader: Reader) -> str:
    """How much time a running job has left; another state is named instead."""
    _ = reader.say
    words = {
        "COMPLETING": _("Ending now"),
        "CONFIGURING": _("Being prepared"),
        "SUSPENDED": _("Paused"),
        "STOPPED": _("Paused"),
    }
    if job.state != "RUNNING":
        return text(words.get(job.state, job.state))
    if job.start is None or job.limit_seconds is None:
        return text(_("No time limit"))
    return text(duration(job.start + job.limit_seconds - now, reader))


def _nodes(nodes: list[LiveNode], reader: Reader) -> str:
    _ = reader.say
    if not nodes:
        return ""
    items = "".join(_node(node, reader) for node in nodes)
    return f'<section class="region"><h2>{text(_("Nodes"))}</h2><ul class="nodes">{items}</ul></section>'


def _node(node: LiveNode, reader: Reader) -> str:
    _ = reader.say
    off = out_of_service(node)
    used, total, word = (
        (node.gpus_used, node.gpus, _("%(used)s of %(total)s GPUs"))
        if node.gpus
        else (node.cores_used, node.cores, _("%(used)s of %(total)s cores"))
    )
    if off:
        state = status("attention", _("Out of service"))
    else:
        state = status(*(("running", _("At work")) if used else ("stopped", _("Free"))))
    amount = text(word % {"used": gpus(used), "total": gpus(total)})
    return (
        f'<li class="node"><span class="node-name"><strong>{text(node.name)}</strong>'
        f'<span class="quiet small">{amount}</span></span>{_cells(used, total, node.gpus, off)}{state}</li>'
    )


def _cells(used: float, total: int, pieces: int, off: bool) -> str:
    """One mark for each GPU, filled as far as it is used; one for all cores where there is no GPU."""
    if not pieces or pieces > 16:
        shares = [used / total if total else 0]
    else:
        shares = [min(1.0, max(0.0, used - index)) for index in range(pieces)]
    pitch = 400 / len(shares)
    width = pitch - 4
    drawn = "".join(
        f'<rect class="cell" x="{pitch * index:.1f}" width="{width:.1f}" height="20"/>'
        f'<rect class="cell-{"off" if off else "used"}" x="{pitch * index:.1f}" '
        f'width="{width * (1 if off else share):.1f}" height="20"/>'
        for index, share in enumerate(shares)
    )
    return f'<svg class="node-cells" viewBox="0 0 396 20" preserveAspectRatio="none" aria-hidden="true">{drawn}</svg>'
