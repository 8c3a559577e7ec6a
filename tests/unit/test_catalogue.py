"""The words in Chinese: complete, and in formal written Chinese as used in Hong Kong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from babel.messages import Catalog, Message

from portal.locale import CHINESE, ENGLISH, catalogue, translator

PLACES = re.compile(r"%%|%\(\w+\)[a-z]|%[a-z]|\{\w*\}")
"""Where a value is put into a sentence."""

ELSEWHERE = {
    "軟體": "軟件",
    "硬體": "硬件",
    "網路": "網絡",
    "使用者": "用戶",
    "服務器": "伺服器",
    "資料集": "數據集",
    "資料庫": "數據庫",
    "核心環境": "Kernel",
    "內核": "Kernel",
    "內存": "記憶體",
    "程序碼": "程式碼",
    "代碼": "程式碼, or 加入代碼 for the code of a workshop",
    "登錄": "登入",
    "登陸": "登入",
    "專案": "項目",
    "計畫": "計劃",
    "佇列": "隊列",
    "排隊": "輪候",
    "集群": "叢集",
    "分割區": "分區",
    "螢幕": "屏幕",
    "信息": "訊息",
    "默認": "預設",
    "帳號": "帳戶",
    "賬": "帳",
    "餘額": "結餘",
    "操作人員": "系統管理員",
    "操作員": "系統管理員",
    "任務": "運算作業",
    "工作階段": "互動時段",
    "會話": "互動時段",
    "身份": "身分",
    "您": "你",
    "規模": "規格, of a session",
    "平台": "入門網站, or 本網站",
    "價錢": "價格",
    "審計記錄": "審計紀錄",
    "位址": "地址",
    "組態": "設定, or 配置",
    "建置": "編譯",
    "致函": "電郵至",
    "請求": "要求",
    "質量": "質素",
    "鏈接": "連結",
    "搜索": "搜尋",
    "設置": "設定",
    "界面": "介面",
    "接口": "介面",
    "文檔": "文件",
    "文件夾": "資料夾",
    "菜單": "選單",
    "刷新": "更新",
    "點擊": "按",
    "激活": "啟用",
    "郵箱": "電郵",
    "電子郵件": "電郵",
    "簡訊": "短訊",
    "視頻": "影片",
    "行動裝置": "流動裝置",
    "程式設計師": "程式員",
    "什麼": "甚麼",
}
"""Words of other places, or that our vocabulary says otherwise; and what to write instead."""

SIMPLIFIED = set(
    "个为么书买会传体关内写决净减几击则务动势区华协单卖发变号员响团图场坏备复头夹实审对导将尔尽层岁币师带帮应开异张归录"
    "总战户执扩择换据断时显术机权条来极标样检楼欢残测济浏满漏灭灵点热现环电画码离种积称稳窗竞笔签简类级纪约纯线组细终经结给"
    "络统继续维综缓编缩网置联脑节药营虑补装规观视览觉计认让议记讲许论设访证评识诉词试话询该详误说请读课调谁负财责败账质费"
    "资赖车转轮软载输过运还这进远连迟适选递通遗邮释里针钟钥错键锁长门闭问间闻队阶际随难页项顺须预领频题额风饭馆验鱼龙"
) - set("内几窗漏净减置通里種")
"""Characters of simplified Chinese that a slip of the input method brings; not those that are also traditional."""


@cache
def kept() -> Catalog:
    return catalogue.read(CHINESE)


def messages() -> list[Message]:
    return [message for message in kept() if message.id]


def forms(text: object) -> list[str]:
    """A string, or its forms for one and for many."""
    return [str(form) for form in text] if isinstance(text, list | tuple) else [str(text or "")]


def faulty(found: Mapping[str, str]) -> str:
    return "\n".join(f"{name}: {why}" for name, why in found.items())


def test_every_string_of_the_sources_is_in_the_catalogue() -> None:
    """`make messages` adds what is missing, and takes out what is no longer said."""
    kept_ids, found_ids = ({str(message.id) for message in one} for one in (kept(), catalogue.extracted()))
    assert kept_ids ^ found_ids == set(), "run make messages"


def test_make_messages_changes_nothing_when_nothing_changed() -> None:
    """No dates, no places in the code, and no other order: the file changes when the words do."""
    again = catalogue.updated(kept(), catalogue.extracted())
    assert catalogue.written(again) == catalogue.path(CHINESE).read_bytes(), "run make messages"


def test_every_string_is_translated() -> None:
    """English in the middle of a Chinese page is a fault, and so is a guess that nobody has read."""
    found = {
        str(message.id): "fuzzy" if message.fuzzy else "no translation"
        for message in messages()
        if message.fuzzy or not all(form.strip() for form in forms(message.string))
    }
    assert not found, faulty(found)


def test_a_translation_has_the_places_of_its_string() -> None:
    """A place that is missing loses a figure; one that is new breaks the page."""
    found: dict[str, str] = {}
    for message in messages():
        places = Counter(PLACES.findall(forms(message.id)[-1]))
        for form in forms(message.string):
            if Counter(PLACES.findall(form)) != places:
                found[str(message.id)] = form
    assert not found, faulty(found)


def chinese() -> list[str]:
    """All that people read in Chinese: the translations, and the lines of documents that are whole files."""
    documents = (catalogue.CHECKOUT / "portal").rglob(f"*.{CHINESE}.md")
    lines = [line for path in sorted(documents) for line in path.read_text().splitlines()]
    return [form for message in messages() for form in forms(message.string)] + lines


def test_the_words_are_those_of_hong_kong() -> None:
    """Formal written Chinese, in the words of our vocabulary."""
    found: dict[str, str] = {
        word: f"{instead}, in: {form}"
        for form in chinese()
        for word, instead in ELSEWHERE.items()
        if word in form
    }
    assert not found, faulty(found)


def test_no_simplified_character() -> None:
    """Traditional Chinese throughout."""
    found: dict[str, str] = {
        form: "".join(SIMPLIFIED & set(form)) for form in chinese() if SIMPLIFIED & set(form)
    }
    assert not found, faulty(found)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ("full-width punctuation after Chinese", r"[\u4e00-\u9fff][,.;:?!]"),
        ("a space between Chinese and Latin letters or numbers", r"[\u4e00-\u9fff][A-Za-z0-9{%]"),
        ("a space between Latin letters or numbers and Chinese", r"[A-Za-z0-9}][\u4e00-\u9fff]"),
        ("no space at full-width punctuation", r"[，。：；、（）] | [，。：；、（）]"),
    ],
)
def test_spacing_and_punctuation(rule: str, fault: str) -> None:
    """As customary on web pages of Hong Kong."""
    found = {form: rule for message in messages() for form in forms(message.string) if re.search(fault, form)}
    assert not found, faulty(found)


def test_a_sentence_ends_as_a_sentence_and_a_label_as_a_label() -> None:
    """A full stop where the string has one, and only there."""
    found = {
        str(message.id): form
        for message in messages()
        for form in forms(message.string)
        if forms(message.id)[-1].endswith(".") != form.endswith("。")
    }
    assert not found, faulty(found)


def test_chinese_has_one_form_and_english_two() -> None:
    """Plurals follow the language."""
    assert kept().num_plurals == 1
    shown = [
        [
            translator(language).ngettext("{gpus} GPU", "{gpus} GPUs", number).format(gpus=number)
            for number in (1, 2)
        ]
        for language in (ENGLISH, CHINESE)
    ]
    assert shown == [["1 GPU", "2 GPUs"], ["1 個 GPU", "2 個 GPU"]]


TEMPLATES = sorted(
    path
    for folder in catalogue.SOURCES
    for path in (catalogue.CHECKOUT / folder).rglob("*")
    if path.suffix in (".html", ".j2") and "node_modules" not in path.parts
)
AS_IT_IS = {"Authorization", "token", "EN", "English", "GPU", "JupyterHub", "Slurm", "Notebook"}
"""Names that are the same in both languages."""
SHOWN_ATTRIBUTES = re.compile(r"""\b(?:aria-label|placeholder|title|alt)=["']([^"'{]*)""")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(catalogue.CHECKOUT)))
def test_no_template_has_words_that_are_not_marked(path: Path) -> None:
    """Text between tags, or in an attribute that people read, would stay English on a Chinese page."""
    text = re.sub(r"{#.*?#}|{% block page_kind %}.*?{% endblock %}", "", path.read_text(), flags=re.S)
    text = re.sub(r"{% trans.*?{% endtrans %}", "", text, flags=re.S)
    text = re.sub(r"{{.*?}}|{%.*?%}|\$\{?\w+\}?", "", text, flags=re.S)
    text = re.sub(r"<(script|style)\b.*?</\1>|<!--.*?-->|<!doctype[^>]*>", "", text, flags=re.S | re.I)
    shown = " ".join([re.sub(r"<[^>]*>|&\w+;", " ", text), *SHOWN_ATTRIBUTES.findall(text)])
    assert set(re.findall(r"[A-Za-z]{2,}", shown)) - AS_IT_IS == set()


SCRIPTS = sorted(
    [*catalogue.CHECKOUT.glob("portal/*/frontend/*.ts"), catalogue.CHECKOUT / "portal/look/page.ts"]
)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(catalogue.CHECKOUT)))
def test_no_script_of_a_page_has_words_of_its_own(path: Path) -> None:
    """Scripts show words that the page brought, translated, in its attributes; their errors are for developers."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", "", path.read_text(), flags=re.S)
    code = re.sub(r"Error\((?:[^()]|\([^()]*\))*\)|querySelector(?:All)?(?:<[^>]*>)?\([^)]*\)", "", code)
    said = re.findall(r'"([^"\n]*)"|`([^`]*)`|\'([^\'\n]*)\'', code)
    sentences = [
        text
        for one in said
        for text in one
        if re.search(r"[A-Za-z]{2,},? [A-Za-z]{2,}|[A-Za-z]{3,}[.!?]$", text)
    ]
    assert sentences == []
    assert not re.findall(r"\b(?:alert|confirm|prompt)\(", code)


def test_strings_inside_formatted_strings_are_found(tmp_path: Path) -> None:
    """On every version of Python that we run on; what is not a plain string cannot be translated and is not taken."""
    source = tmp_path / "page.py"
    source.write_text("""f"<p>{text(_('One'))}</p>" + self._("Two " "parts") + _(three) + _(f"{four}")""")
    with source.open("rb") as file:
        found = [message for _, _, message, _ in catalogue.python(file, {"_": None}, (), {})]
    assert sorted(found, key=str) == [("One",), ("Two parts",), (None,), (None,)]


def test_a_translation_outlives_its_string() -> None:
    """A string that goes and comes back still has its translation."""
    old, found, without = Catalog(locale=CHINESE), Catalog(), Catalog()
    old.add("One", "一")
    found.add("One")
    gone = catalogue.updated(old, without)
    assert "One" not in gone and "One" in gone.obsolete
    back = catalogue.updated(gone, found)["One"]
    assert back is not None and back.string == "一"
