"""Why a job waits or a start is refused: one plain sentence and the next step, in both languages."""

import ast
import ctypes
import re
from pathlib import Path

import pytest

from portal import reasons
from portal.grants import State
from portal.locale import CHINESE, ENGLISH, LANGUAGES, filled
from portal.reasons import Kind, explain, told

ROOT = Path(__file__).parents[2]
LIBRARY = next(Path("/usr/lib").glob("*/slurm*/libslurmfull.so"), Path("/usr/lib/slurm/libslurmfull.so"))
SINCE = ("RaisedSignal", "ReservationInvalid", "Constraints", "QOSMaxBBMinutesPerJob")
"""Reasons of later versions of Slurm than the oldest that we run on."""
DESCRIBED = (
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions",
    "ReqNodeNotAvail, Reserved for maintenance",
    "ReqNodeNotAvail, UnavailableNodes:gpu[01-02]",
    "ReqNodeNotAvail, May be reserved for other job",
    "Job's account not permitted to use this partition (gpu allows a not b)",
    "Job's QOS not permitted to use this partition (gpu denies a including b)",
    "launch failed requeued held",
    "job requeued in held state",
    "job requeued in special exit state",
)
"""What slurmctld writes in words instead of a name."""


def installed() -> list[str]:
    """Every name of a reason that the installed Slurm's library knows."""
    library = ctypes.CDLL(str(LIBRARY))
    names = ("slurm_job_reason_string", "slurm_job_state_reason_string")  # before and since 23.11
    name = next(name for name in names if hasattr(library, name))
    say = getattr(library, name)
    say.restype, say.argtypes = ctypes.c_char_p, [ctypes.c_int]
    found = [say(number).decode() for number in range(500)]
    return sorted({reason for reason in found if not reason.isdigit() and reason != "InvaildReason"})


def test_every_reason_of_the_installed_slurm_is_explained() -> None:
    """Read out of Slurm's own library, so a new version cannot bring a word that nobody explains."""
    found = installed()
    assert len(found) > 150 and {"Priority", "QOSMaxGRESPerUser"} < set(found)
    assert [reason for reason in found if not told(reason, ENGLISH).known] == []


@pytest.mark.parametrize("reason", [*SINCE, *DESCRIBED, *reasons.SLURM])
def test_a_reason_is_a_sentence_and_a_next_step_in_both_languages(reason: str) -> None:
    """What it is, what to do, and who can: none of them left out, none of them Slurm's own word."""
    for language, stop in ((ENGLISH, "."), (CHINESE, "。")):
        words = told(reason, language)
        assert words.known and words.word and words.kind
        assert words.what.endswith(stop) and words.step.endswith(stop)
        assert explain(reason, language) == words.what + (" " if language == ENGLISH else "") + words.step
    assert told(reason, ENGLISH).what != told(reason, CHINESE).what


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        ("QOSGrpCpuLimit", "The running jobs of the grant have reached its limit on CPU cores."),
        ("QOSMaxGRESPerUser", "The running jobs of its owner have reached the limit on GPUs for one person."),
        ("AssocMaxMemPerNode", "It asks for more memory on each node than one job may have."),
        ("QOSMinCpuNotSatisfied", "It does not ask for enough CPU cores for a job of this kind."),
        (
            "AssocGrpNodeRunMinutes",
            "The running jobs of the grant hold as much time on nodes as it allows at once.",
        ),
        (
            "MaxLicensePerAccount",
            "The running jobs of the grant have reached its limit on software licences.",
        ),
        ("QOSGrpWallLimit", "The jobs of the grant have run for as long in all as it allows."),
    ],
)
def test_a_limit_is_told_by_its_family_and_its_resource(reason: str, sentence: str) -> None:
    """One pattern for each kind of limit, with the resource's own word."""
    assert told(reason, ENGLISH).what == sentence


def test_chinese_words_stand_without_blanks_and_latin_ones_with() -> None:
    """As people write, whatever word is put into the pattern."""
    assert "所用的節點已達上限" in explain("QOSGrpNodeLimit", CHINESE)
    assert "所用的 GPU 已達每人上限" in explain("QOSMaxGRESPerUser", CHINESE)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Priority", Kind.WAITS),
        ("JobHeldUser", Kind.YOURS),
        ("JobHeldAdmin", Kind.OPERATORS),
        ("QOSMaxGRESPerJob", Kind.NEVER),
        ("OutOfMemory", Kind.ENDED),
    ],
)
def test_pages_can_tell_who_has_to_act(reason: str, kind: Kind) -> None:
    """By a word and by the shape of a mark, never by colour alone."""
    words = told(reason, ENGLISH)
    assert words.kind is kind and words.word == reasons.KIND_WORDS[kind] and words.mark


def test_the_nodes_out_of_service_are_named() -> None:
    """What Slurm puts behind a reason is kept where it is a list of nodes, and nothing else is."""
    assert "Out of service: gpu[01-02]." in explain("ReqNodeNotAvail, UnavailableNodes:gpu[01-02]", ENGLISH)
    hostile = explain("ReqNodeNotAvail, UnavailableNodes:<script>alert(1)</script>", ENGLISH)
    assert "script" not in hostile and hostile == explain("ReqNodeNotAvail", ENGLISH)


@pytest.mark.parametrize("reason", ["SomethingNew", "QOSGrpWarpDrive", "job fails", "Max"])
def test_an_unknown_reason_is_shown_as_it_is(reason: str) -> None:
    """Better Slurm's word than none; pages put a link to help behind it."""
    words = told(reason, CHINESE)
    assert not words.known and explain(reason, CHINESE) == reason and reasons.HELP.startswith("/")


def test_help_lists_every_sentence_once() -> None:
    """With every kind of limit, for each resource."""
    listed = reasons.everything(ENGLISH)
    assert all(words.known for words in listed) and len(listed) > 120
    assert len({(words.what, words.step) for words in listed}) == len(listed)
    assert len(reasons.everything(CHINESE)) == len(listed)


def places(row: reasons.Row) -> dict[str, str]:
    return dict.fromkeys(re.findall(r"\{(\w+)\}", row.what + row.step), "x")


@pytest.mark.parametrize("code", [*reasons.POLICY, *reasons.START, *reasons.ANSWERS])
def test_every_refusal_ends_with_a_next_step_in_both_languages(code: str) -> None:
    """What and why, then what to do."""
    row = reasons.refusal(code)
    said = {language: reasons.say(code, language, **places(row)) for language in LANGUAGES}
    assert said[ENGLISH].endswith(filled(row.step, **places(row))) and row.step.endswith(".")
    assert said[CHINESE].endswith("。") and re.search(r"[\u4e00-\u9fff]", said[CHINESE])


def codes(folder: str, call: str) -> set[str]:
    """The codes that the sources hand to a function of that name."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and getattr(node.func, "attr", getattr(node.func, "id", "")) == call
            ):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_no_refusal_is_said_that_is_not_in_the_table() -> None:
    """Spawners and hub say a code; the policy gives one. Every state of a grant that refuses has its row."""
    said = codes("spawners", "say") | codes("spawners", "_failure") | codes("portal/hub", "say")
    assert {"portal", "sbatch", "no-call-back", "busy"} <= said and said <= {*reasons.START, *reasons.ANSWERS}
    given = codes("portal", "Refusal") | {
        f"grant-{state.value}" for state in State if state is not State.ACTIVE
    }
    given |= {f"{field}-not-offered" for field in ("grant", "size", "minutes")}
    assert {code for code in given if re.fullmatch(r"[a-z-]+", code)} <= {*reasons.POLICY}


def test_a_spawner_says_nothing_of_its_own() -> None:
    """The text of every SpawnException comes out of the table, or is the portal's answer."""
    allowed = {"reasons.say", "error.message", "no.message", "said"}
    makers = {"SpawnException", "refused"}  # `refused` makes one of the text it is given
    for path in (ROOT / "spawners").glob("*.py"):
        tree = ast.parse(path.read_text())
        tree.body = [node for node in tree.body if getattr(node, "name", "") != "refused"]
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in makers:
                assert ast.unparse(node.args[0]).split("(")[0] in allowed, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    "reason", ["MaxGRESRunMinsPerUser", "MaxCpuRunMinsPerAccount", "MaxPoweredUpNodes", "MpiPortsBusy"]
)
def test_words_of_newer_versions_are_explained(reason: str) -> None:
    """Slurm 24.11 has these; the library of Debian 12 does not."""
    assert told(reason, ENGLISH).known
