"""What sbatch is given: shaped values as single arguments, and one script for everybody."""

from pathlib import Path

import pytest

from portal.client import Admitted
from spawners import submission
from spawners.submission import Unsubmittable, arguments, job_id

SESSION = Admitted(
    id="0123456789abcdef0123456789abcdef",
    cluster="aisc",
    job_name="aisc-0123456789abcdef0123456789abcdef",
    account="gaiss1",
    qos="gaiss1",
    unix_user="aisc",
    partition="gpu",
    gres="gpu:h800:2",
    cores=32,
    memory_mb=480_000,
    minutes=120,
)
HOME = Path("/srv/people/pann")
HOSTILE = ["", "a b", "a\n", "-x", "--uid=0", "a,b", "a;b", "$(id)", "a'b", "A", "a" * 99]


def test_each_value_is_one_argument() -> None:
    """Account, QOS, size and time are options of sbatch; the script is not touched."""
    options = arguments(SESSION, HOME, {"HOME": "x", "JUPYTERHUB_USER": "y"})

    assert "--account=gaiss1" in options and "--qos=gaiss1" in options
    assert "--gres=gpu:h800:2" in options and "--time=120" in options and "--mem=480000M" in options
    assert "--export=HOME,JUPYTERHUB_USER" in options
    assert "--no-requeue" in options, "stock: R13"
    assert f"--job-name=aisc-{SESSION.id}" in options, "stock: R4, one name for all"


def test_without_gpus_no_gres_is_asked_for() -> None:
    """A CPU session has no --gres at all."""
    assert not [
        o for o in arguments(SESSION.model_copy(update={"gres": ""}), HOME, []) if o.startswith("--gres")
    ]


FIELDS = ("id", "account", "qos", "partition", "gres", "job_name")
WRONG = [
    (field, value) for value in HOSTILE for field in FIELDS if value or field != "gres"
]  # no GPU is a shape


@pytest.mark.parametrize(("field", "value"), WRONG, ids=repr)
def test_a_value_of_another_shape_is_not_submitted(field: str, value: str) -> None:
    """Whatever the portal answers, it cannot become an option or a second line."""
    with pytest.raises(Unsubmittable):
        arguments(SESSION.model_copy(update={field: value}), HOME, [])


@pytest.mark.parametrize("field", ["cores", "memory_mb", "minutes"])
@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_a_number_out_of_range_is_not_submitted(field: str, value: int) -> None:
    """No job of zero, negative or absurd size."""
    with pytest.raises(Unsubmittable):
        arguments(SESSION.model_copy(update={field: value}), HOME, [])


@pytest.mark.parametrize("home", ["people/pann", "/srv/../etc", "/srv/a b", "/srv/a\nb", "/srv/%u"])
def test_a_folder_of_another_shape_is_not_used(home: str) -> None:
    """The folder is part of --chdir and --output, where % and blanks mean something."""
    with pytest.raises(Unsubmittable):
        arguments(SESSION, Path(home), [])


@pytest.mark.parametrize("name", ["A,B", "a", "A=1", "", "ALL\n"])
def test_only_names_are_exported(name: str) -> None:
    """A variable travels by name; its value never stands in an argument."""
    with pytest.raises(Unsubmittable):
        arguments(SESSION, HOME, [name])


@pytest.mark.parametrize(
    ("printed", "job"),
    [
        ("123\n", 123),
        ("123;aisc\n", 123),
        ("warning: x\n123\n", 123),
        ("", None),
        ("rubbish", None),
        ("0", None),
        ("12 3", None),
        ("123; rm", None),
        ("-5", None),
    ],
)
def test_the_job_id_is_read_or_not_at_all(printed: str, job: int | None) -> None:
    """Only a number, alone or with the cluster's name, on the last line."""
    assert job_id(printed) == job


def test_the_script_is_complete_and_the_same_for_everybody() -> None:
    """The program of the node stands in it, and no place for a value."""
    script = submission.SCRIPT.decode()

    assert "@node.py@" not in script and "{{" not in script and "#SBATCH" not in script
    assert "def tell_port" in script
    assert script.count("END-OF-NODE-PROGRAM\n") == 1, "the program must not end its own text"
