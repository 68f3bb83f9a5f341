"""How two classes are written: what one cell means depends on its column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluid.learn.cells.classes import FINDINGS, NO, UNDECIDED, YES, detect_classes
from fluid.learn.cells.missing import MISSING_MARKS
from fluid.learn.task import LabelError, Task

PLAIN = Task("active", "binary")
NAMED = Task("bbb", "binary", classes=("BBB-", "BBB+"))
TURNED = Task("t", "binary", classes=("yes", "no"))
THREE = Task("tox", "multiclass", classes=("None", "Mild", "Severe"))


def read(task, texts):
    """What each text of a column is read as; the message if it is refused."""
    code = detect_classes(task, {text: 10 for text in texts})
    found = {}
    for text in texts:
        try:
            found[text] = code.read(text)
        except LabelError as error:
            found[text] = str(error)
    return found


@pytest.mark.parametrize(
    ("negative", "positive"),
    [
        ("0", "1"),
        ("0.0", "1.0"),
        ("0.00", "1.00"),
        ("0,0", "1,0"),
        ("0,00", "1,00"),
        ("0.000000e+00", "1.000000e+00"),
        ("+0", "+1"),
        ("０", "１"),
        ("-1", "1"),
        ("−1", "1"),
        ("-1.0", "1.0"),
        ("-", "+"),
        ("−", "＋"),
        ("–", "+"),
        ("-ve", "+ve"),
        ("false", "true"),
        ("FALSE", "TRUE"),
        ("F", "T"),
        ("no", "yes"),
        ("No ", " YES"),
        ("N", "Y"),
        ("neg", "pos"),
        ("Neg.", "Pos."),
        ("N", "P"),
        ("negative", "positive"),
        ("inactive", "active"),
        ("Inactive", "Active"),
        ("I", "A"),
        ("absent", "present"),
        ("nein", "ja"),
        ("falsch", "wahr"),
        ("FALSCH", "WAHR"),
        ("N", "J"),
        ("negativ", "positiv"),
        ("inaktiv", "aktiv"),
        ("non", "oui"),
        ("FAUX", "VRAI"),
        ("N", "O"),
        ("négatif", "positif"),
        ("no", "sí"),
        ("FALSO", "VERDADERO"),
        ("no", "si"),
        ("não", "sim"),
        ("N", "S"),
        ("FALSO", "VERO"),
        ("NO", "SÌ"),
        ("HAYIR", "EVET"),
        ("YANLIŞ", "DOĞRU"),
        ("ΟΧΙ", "ΝΑΙ"),
        ("(-)", "(+)"),
        ("nee", "ja"),
        ("ONWAAR", "WAAR"),
        ("nej", "ja"),
        ("nie", "tak"),
        ("ne", "ano"),
        ("нет", "да"),
        ("いいえ", "はい"),
        ("陰性", "陽性"),
        ("無", "有"),
        ("否", "是"),
        ("阴性", "阳性"),
        ("不活性", "活性"),
        ("아니요", "예"),
        ("✗", "✓"),
        ("BBB-", "BBB+"),
        ("BBB -", "BBB +"),
        ("BBB−", "BBB+"),
        ("BBB (-)", "BBB (+)"),
        ("hERG-", "hERG+"),
        ("non-toxic", "toxic"),
        ("Nontoxic", "Toxic"),
        ("not toxic", "toxic"),
        ("non_toxic", "toxic"),
        ("non toxic", "toxic"),
        ("no toxicity", "toxicity"),
        ("non-mutagenic", "mutagenic"),
        ("non-inhibitor", "inhibitor"),
        ("Noninhibitor", "Inhibitor"),
        ("not an inhibitor", "inhibitor"),
        ("non-substrate", "substrate"),
        ("CYP3A4 non-substrate", "CYP3A4 substrate"),
        ("non-permeable", "permeable"),
        ("impermeable", "permeable"),
        ("insoluble", "soluble"),
        ("unstable", "stable"),
        ("not active", "active"),
        ("non-active", "active"),
        ("no hit", "hit"),
        ("not detected", "detected"),
        ("substrate: no", "substrate: yes"),
        ("CYP3A4 substrate no", "CYP3A4 substrate yes"),
        ("test negative", "test positive"),
        ("negative (-)", "positive (+)"),
        ("inactive (0)", "active (1)"),
        ("0 = no", "1 = yes"),
        ("0, inactive", "1, active"),
    ],
)
def test_two_classes(negative, positive):
    assert read(PLAIN, [negative, positive]) == {negative: 0, positive: 1}
    # With missing values and a third text that is neither.
    more = [positive, "", "n.d.", negative, "#N/A", "inconclusive"]
    found = read(PLAIN, more)
    assert [found[text] for text in more] == [1, None, None, 0, None, None]


@pytest.mark.parametrize(
    "text",
    ["+/-", "+-", "±", "(+)", "equivocal", "Inconclusive", "indeterminate", "intermediate"]
    + [
        "borderline",
        "weak",
        "weakly active",
        "weakly_active",
        "Unspecified",
        "unklar",
        "équivoque",
    ],
)
@pytest.mark.parametrize("classes", [("-", "+"), ("0", "1"), ("inactive", "active")])
def test_what_is_neither_is_never_a_class(text, classes):
    code = detect_classes(PLAIN, {classes[0]: 20, classes[1]: 20, text: 20})
    assert code.read(text) is None
    assert (code.read(classes[0]), code.read(classes[1])) == (0, 1)
    assert any("20 times" in doubt and "neither class" in doubt for doubt in code.doubts)


@pytest.mark.parametrize("dash", ["-", "–", "—", "−", " - "])
def test_a_dash_is_negative_only_opposite_a_plus(dash):
    assert read(PLAIN, ["+", dash]) == {"+": 1, dash: 0}
    code = detect_classes(PLAIN, {"1": 15, "0": 15, dash: 30})
    assert [code.read(text) for text in ("1", "0", dash)] == [1, 0, None]
    assert code.doubts == ["'-' (30 times) is read as missing, for there is no '+'"]
    assert read(PLAIN, ["yes", dash])[dash] is None
    assert read(NAMED, ["BBB+", "BBB-", dash])[dash] is None
    # Where a dash is what the task calls its class, it is that class.
    assert read(Task("x", "binary", classes=("-", "+")), ["+", dash]) == {"+": 1, dash: 0}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["1", "2"], 'nothing says which is positive; state .* classes = ["1", "2"]'),
        (["1", "2", ""], 'classes = ["1", "2"]'),
        (["-1", "0", "1"], "one of them means missing"),
        (["0", "1", "2"], "3 different numbers"),
        (["5.2", "6.1", "7"], "a task made of numbers has a threshold"),
        (["12", "17"], "2 different numbers"),
        (["blocker", "non-blocker"], 'classes = ["non-blocker", "blocker"]'),
        (["low", "high"], "nothing says which of 'high' and 'low' is positive"),
        (["safe", "toxic"], "nothing says which of 'safe' and 'toxic' is positive"),
        (["A", "B"], "nothing says which of 'A' and 'B'"),
        (["2 = active", "1 = inactive"], "nothing says which of"),
        (["blue"], "'blue' is not a class that is known"),
        (["Class 1", "Class 2"], "nothing says which of 'Class 1' and 'Class 2'"),
    ],
)
def test_what_nobody_knows_is_refused_with_how_to_state_it(texts, message):
    found = read(PLAIN, texts)
    words = message.split(" .* ")
    for text in filter(None, texts):
        assert isinstance(found[text], str)
        assert all(word in found[text] for word in words)


def test_a_few_strange_texts_cost_only_themselves():
    code = detect_classes(PLAIN, {"1": 50, "0": 50, "2": 3, "Probe": 1})
    assert (code.read("1"), code.read("0")) == (1, 0)
    for text in ("2", "Probe"):
        with pytest.raises(LabelError, match=f"'{text}' is not a class .* 1 or 0, yes or no"):
            code.read(text)


def test_a_class_that_is_known_by_itself_is_read_beside_an_unknown_one():
    found = read(PLAIN, ["1", "perhaps"])
    assert found["1"] == 1
    assert "'perhaps' is not a class" in found["perhaps"]


def test_one_class_alone_is_read_and_doubted():
    for text, only in [
        ("yes", "positive"),
        ("1", "positive"),
        ("0.0", "negative"),
        ("N", "negative"),
    ]:
        code = detect_classes(PLAIN, {text: 5})
        assert code.read(text) == int(only == "positive")
        assert code.doubts == [f"all labels are of one class, the {only} one"]


def test_letters_need_their_opposite():
    assert read(PLAIN, ["1", "0", "N"])["N"] == (
        "'N' is not a class of this task; allowed are 1 or 0, yes or no"
    )
    assert read(PLAIN, ["active", "inactive", "i"])["i"] != 0


def test_several_ways_of_writing_are_read_and_doubted():
    code = detect_classes(PLAIN, {"1": 5, "0": 5, "yes": 2, "no": 2})
    assert [code.read(text) for text in ("1", "0", "yes", "no")] == [1, 0, 1, 0]
    assert code.doubts == ["classes are written in several ways: 1 and 0, words"]


def test_the_report_says_which_text_is_which_class():
    code = detect_classes(PLAIN, {"1": 5, "0": 7, "1.0": 9})
    assert code.why == "negative: '0'; positive: '1.0', '1'"
    assert detect_classes(NAMED, {"bbb+": 1, "0": 2}).why == "BBB-: '0'; BBB+: 'bbb+'"


def test_the_negation_of_a_finding_that_the_task_is_named_after():
    task = Task("nontoxic", "binary")
    found = read(task, ["toxic", "non-toxic"])
    assert all("nothing says which" in message for message in found.values())


def test_names_of_the_task_come_first():
    assert read(NAMED, ["BBB+", "bbb -", "1", "0", "yes", "no"]) == {
        "BBB+": 1,
        "bbb -": 0,
        "1": 1,
        "0": 0,
        "yes": 1,
        "no": 0,
    }
    named = Task("x", "binary", classes=("non blocker", "blocker"))
    assert read(named, ["Non-Blocker", "nonblocker", "BLOCKER", "non_blocker"]) == {
        "Non-Blocker": 0,
        "nonblocker": 0,
        "BLOCKER": 1,
        "non_blocker": 0,
    }
    assert read(Task("x", "binary", classes=("none", "some")), ["None", "some"]) == {
        "None": 0,
        "some": 1,
    }


def test_names_that_turn_the_usual_meaning_round_leave_no_word_with_it():
    found = read(TURNED, ["yes", "no", "1", "0", "true", "active"])
    assert [found[text] for text in ("yes", "no", "1", "0")] == [0, 1, 1, 0]
    assert "allowed are no or yes" in found["true"]
    assert "allowed are no or yes" in found["active"]
    for classes in [("toxic", "non-toxic"), ("+", "-"), ("BBB+", "BBB-"), ("soluble", "insoluble")]:
        task = Task("t", "binary", classes=classes)
        assert isinstance(read(task, [*classes, "positive"])["positive"], str)


def test_numbers_that_are_names():
    """1 and 2, or -1, 0 and 1, are what the task says; no other number is a class."""
    coded = Task("x", "binary", classes=("1", "2"))
    found = read(coded, ["1", "2.0", "0"])
    assert (found["1"], found["2.0"]) == (0, 1)
    assert "allowed are 2 or 1" in found["0"]
    signs = read(Task("x", "binary", classes=("-1", "1")), ["-1", "1", "0"])
    assert (signs["-1"], signs["1"]) == (0, 1)
    assert "allowed are 1 or -1" in signs["0"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("none", 0),
        (" NONE ", 0),
        ("MILD", 1),
        ("severe", 2),
        ("n.d.", None),
        ("", None),
        ("-", None),
    ],
)
def test_multiclass_labels(text, value):
    assert read(THREE, [text, "Mild"])[text] == value


def test_multiclass_names_are_forgiving_and_numbers_are_not_positions():
    four = Task("x", "multiclass", classes=("Class I", "non-toxic", "3", "GHS_4"))
    found = read(four, ["class-i", "Non Toxic", "3.0", "ghs 4", "1", "yes", "+/-"])
    assert [found[t] for t in ("class-i", "Non Toxic", "3.0", "ghs 4")] == [0, 1, 2, 3]
    for text in ("1", "yes", "+/-"):
        assert "allowed are Class I, non-toxic, 3, GHS_4" in found[text]
    # Names that differ by no more than what is forgiven elsewhere.
    close = Task("x", "multiclass", classes=("a-b", "ab", "c"))
    assert read(close, ["a-b", "AB", "a b"])["a-b"] == 0
    assert read(close, ["a-b", "AB", "a b"])["AB"] == 1
    assert isinstance(read(close, ["a-b", "AB", "a b"])["a b"], str)


def test_texts_that_were_not_counted_are_read_alike():
    code = detect_classes(PLAIN, {"Active": 3, "inactive": 4})
    assert code.read(" ACTIVE") == 1
    assert code.read("n/a") is None
    with pytest.raises(LabelError, match="'maybe' is not a class"):
        code.read("maybe")


def test_the_lists_do_not_contradict_each_other():
    assert not YES & NO
    assert not (YES | NO) & UNDECIDED
    assert not (YES | NO | UNDECIDED) & (MISSING_MARKS - {"-", "+"})
    assert "" not in YES | NO | UNDECIDED | FINDINGS


WORDS = st.sampled_from(
    ["1", "0", "+", "-", "+/-", "yes", "no", "active", "inactive", "", "n.d.", "-1", "2", "BBB+"]
    + ["BBB-", "toxic", "non-toxic", "equivocal", "T", "F", "maybe", "weak", "5.2", "none", "x"]
)


@given(st.dictionaries(WORDS, st.integers(1, 99), max_size=8), st.randoms())
def test_the_order_of_rows_does_not_matter_and_nothing_undecided_is_negative(counts, order):
    def outcome(texts):
        code = detect_classes(PLAIN, texts)
        return code.codes, code.problems, code.why, code.doubts

    items = list(counts.items())
    order.shuffle(items)
    assert outcome(counts) == outcome(dict(items))
    code = detect_classes(PLAIN, counts)
    for text in counts:
        try:
            index = code.read(text)
        except LabelError:
            continue
        assert index in (0, 1, None)
        if text in ("+/-", "equivocal", "weak", "", "n.d.", "none"):
            assert index is None
        if text == "-":
            assert index == (0 if "+" in counts else None)


@given(st.dictionaries(st.text(max_size=8), st.integers(1, 99), max_size=8))
def test_any_column_is_read_or_refused(counts):
    for task in (PLAIN, NAMED, THREE):
        for index in read(task, list(counts)).values():
            assert index in (None, 0, 1, 2) or "class" in index or "positive" in index
