"""What a person may ask for, and every other shape of data refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawners import options
from spawners.options import BadOption, Options

GOOD = {"grant": "AISS-2025-0007", "size": "gpu1", "minutes": 120}
FORM = {"grant": ["AISS-2025-0007"], "size": ["gpu1"], "minutes": ["120"]}
HOSTILE: list[Any] = [
    "",
    " ",
    "gpu1\n#SBATCH --qos=other",
    "gpu1\n",
    "#SBATCH --qos=other",
    "$(id)",
    "`id`",
    "{{ 7*7 }}",
    "{% x %}",
    "a'b",
    'a"b',
    "a b",
    "a;b",
    "--wrap=id",
    "../../etc",
    "a" * 65,
    "数",
    "a\0b",
    ["gpu1", "gpu2"],
    [],
    [["gpu1"]],
    {"id": "gpu1"},
    None,
    7,
    True,
    1.5,
]
ABSURD: list[Any] = [0, -1, -120, 10**9, True, False, 1.0, 120.5, None, [], [60, 120], ["1e3"], {}]
ABSURD += ["", "0", "-5", "+5", "0x10", " 60", "60 ", "60\n", "1:00", "UNLIMITED", "١٢٠", "9" * 20]


@pytest.mark.parametrize("data", [GOOD, FORM], ids=["rest", "form"])
def test_form_and_rest_data_become_the_same_options(data: Any) -> None:
    """A list of one text, as forms send it, means the same as the plain value."""
    assert options.parse(data) == Options("AISS-2025-0007", "gpu1", 120)


def test_options_survive_the_way_through_the_hubs_database() -> None:
    """What JupyterHub keeps for the next start can be read again."""
    asked = options.parse(GOOD)

    assert options.parse(asked.as_dict()) == asked


@pytest.mark.parametrize("field", ["grant", "size"])
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_what_is_not_an_id_is_refused_by_the_name_of_its_field(field: Any, value: Any) -> None:
    """No quote, newline, template, option or other type passes for an id."""
    with pytest.raises(BadOption, match=f"No valid {field} was chosen") as refusal:
        options.parse(GOOD | {field: value})

    assert refusal.value.field == field


@pytest.mark.parametrize("value", ABSURD, ids=repr)
def test_what_is_not_a_sane_number_of_minutes_is_refused(value: Any) -> None:
    """Only a positive whole number of minutes, in plain digits, passes."""
    with pytest.raises(BadOption, match="No valid time limit was chosen") as refusal:
        options.parse(GOOD | {"minutes": value})

    assert refusal.value.field == "minutes"


@pytest.mark.parametrize(("sent", "most"), [("0", 0), (["3600"], 3600), (12, 12)])
def test_the_highest_price_agreed_to_may_be_sent_along(sent: Any, most: int) -> None:
    """In cents; without it a start has no bound."""
    assert options.parse(GOOD | {"most": sent}).most == most
    assert options.parse(options.parse(GOOD | {"most": sent}).as_dict()).most == most
    assert options.parse(GOOD).most is None


@pytest.mark.parametrize(
    "sent", ["", "-1", "1.5", "x", -1, True, None, 1.5, ["1", "2"], "9" * 13, "１"], ids=repr
)
def test_a_bound_that_is_no_sum_of_cents_is_refused(sent: Any) -> None:
    """It never counts as no bound."""
    with pytest.raises(BadOption) as refusal:
        options.parse(GOOD | {"most": sent})

    assert refusal.value.field == "most"


@pytest.mark.parametrize(
    "name", ["prologue", "cmd", "options", "partition", "qos", "a\nb", "<b>", "", "x" * 99]
)
def test_an_unknown_option_is_refused(name: Any) -> None:
    """Nothing besides the three values is taken, whatever its name (facts-stack R10)."""
    with pytest.raises(BadOption) as refusal:
        options.parse(GOOD | {name: "x"})

    assert refusal.value.field == "options"
    assert "\n" not in refusal.value.message and "<" not in refusal.value.message


@pytest.mark.parametrize("field", options.FIELDS)
def test_each_value_is_required(field: Any) -> None:
    """A missing value has no default: nobody starts what they did not choose."""
    with pytest.raises(BadOption) as refusal:
        options.parse({name: value for name, value in GOOD.items() if name != field})

    assert refusal.value.field == field


@pytest.mark.parametrize("data", [None, [], "x", 3, [("grant", "a")]], ids=repr)
def test_anything_but_an_object_is_refused(data: Any) -> None:
    """A list, a text or nothing is no set of options."""
    with pytest.raises(BadOption):
        options.parse(data)


@given(
    st.dictionaries(
        st.text(max_size=8) | st.sampled_from(options.FIELDS), st.text() | st.integers() | st.none()
    )
)
def test_no_data_does_anything_but_parse_or_refuse(data: Any) -> None:
    """Whatever is sent: either clean values, or a refusal in one line."""
    try:
        asked = options.parse(data)
    except BadOption as refusal:
        assert "\n" not in refusal.message
    else:
        assert asked.grant.isascii() and asked.size.isascii() and asked.minutes > 0
