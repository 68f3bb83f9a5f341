"""Classes as people and programs write them, decided for a whole column.

What one cell means depends on the others: ``-`` is negative beside ``+``, and says "not measured"
beside ``1`` and ``0``. Nothing is guessed: what may be either is refused, with how to state it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.plain import plain
from fluid.learn.task import LabelError, Task

# English, German, French, Spanish, Portuguese, Italian, Dutch, Scandinavian languages, Finnish,
# Polish, Czech, Hungarian, Romanian, Turkish, Greek, Russian, Ukrainian, Japanese, Chinese, Korean.
_YES = """
    yes true positive pos pos. active act act. present on +ve ja wahr positiv aktiv oui vrai positif
    actif sí sì si verdadero cierto positivo activo sim verdadeiro ativo vero attivo waar positief
    actief sand sann sant kyllä tosi tak prawda pozytywny
    aktywny ano pravda igen igaz da evet doğru dogru
    ναι да истина положительный активный есть так
    はい 陽性 有 真 あり 活性 是 阳性 陽 예 네 양성 ✓ ✔
"""
_NO = """
    no false negative neg neg. inactive inact inact. absent off -ve nein falsch negativ inaktiv non
    faux négatif negatif inactif falso negativo inactivo não nao inativo inattivo nee onwaar
    negatief inactief nej nei falsk usand usann falskt ei epätosi nie fałsz negatywny nieaktywny ne
    nepravda nem hamis nu hayır hayir yanlış yanliş
    yanlis όχι οχι нет ложь отрицательный неактивный ні
    いいえ 陰性 無 偽 なし 不活性 否 阴性 陰 不是 没有 无 아니요 아니오 음성 ✗ ✘
"""
YES, NO = frozenset(_YES.split()), frozenset(_NO.split())
# The negative letter by the positive one: only where both occur, or nothing else does.
_LETTERS = {"y": "n", "t": "f", "p": "n", "a": "i", "j": "n", "o": "n", "s": "n"}
_LETTERS_ALONE = frozenset("yntf")
# What an assay finds a compound to be: its negation is the other class.
_FINDINGS = """
    active activity positive hit detected toxic toxicity mutagenic mutagen carcinogenic carcinogen
    genotoxic clastogenic hepatotoxic cardiotoxic cytotoxic nephrotoxic neurotoxic ototoxic
    hemolytic haemolytic teratogenic phototoxic irritant irritating corrosive sensitizer sensitiser
    sensitizing permeable penetrant inhibitor inhibition inhibiting inhibitory substrate inducer
    induction activator agonist antagonist binder binding responder reactive soluble stable
    absorbed bioavailable fluorescent selective sensitive druggable
"""
FINDINGS = frozenset(_FINDINGS.split())
_UNDECIDED = """
    +/-|-/+|+-|-+|±|∓|(+)|(-)|(+/-)|w+|equivocal|inconclusive|intermediate|indeterminate|ambiguous
    borderline|undetermined|unclear|uncertain|undecided|unspecified|questionable|marginal|weak
    weakly active|weakly positive|weak positive|weak active|slightly active|moderate|partial|mixed
    conflicting|variable|fraglich|unklar|grenzwertig|schwach|schwach positiv|équivoque|equivoque
    douteux|équivoco|equívoco|dudoso|inconcluso|inconclusivo|dubbio|twijfelachtig|сомнительный
"""
UNDECIDED = frozenset(map(str.strip, re.split("[|\n]", _UNDECIDED.strip())))
_NEGATION = re.compile(r"(?:(?P<lead>.+) )?(?:non|not|no)(?: (?:an? )?|-|)(?P<stem>\w+)")
_PREFIX = re.compile(r"(?:(?P<lead>.+) )?(?:in|im|un|ir)(?P<stem>\w{4,})")
_NUMERAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|[+-]?\d+,\d{1,2}", re.ASCII)
_SIGNED = re.compile(r"(?P<stem>.*[\w)\]]) ?(?:(?P<sign>[+-])|\((?P<inner>[+-])\))")
_ANSWER = re.compile(r"(?P<stem>.+?)\s*[ :=]\s*(?P<word>[^ :=]+)")
_TWICE = re.compile(r"(?P<first>[^ (=:,]+) ?[(=:,-] ?(?P<second>[^()=:,]+)\)?")
# Of what is not missing; from here on a column is not what it was taken for.
_MANY = 0.2
_SHOWN = 6
_BY_NEGATION = "a finding and its negation"


def _fold(text: str) -> str:
    """A text without case, doubled blanks, and blanks before a last sign."""
    return re.sub(r" (?=[+-]$)", "", " ".join(plain(text).casefold().split()))


def _loose(folded: str) -> str:
    """A folded text without what joins its words; a sign at its end stays."""
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", "", folded)


def _numeral(folded: str) -> float | None:
    """The number that a text is, decimal comma or point, if it is one."""
    if not _NUMERAL.fullmatch(folded):
        return None
    value = float(folded.replace(",", "."))
    return value if math.isfinite(value) else None


def _finding(folded: str) -> tuple[str, int] | None:
    """A finding and whether a text states it, 1, or its negation, 0; None for other texts."""
    text = folded.replace("_", " ")
    for pattern in (_NEGATION, _PREFIX):
        match = pattern.fullmatch(text)
        if match and match["stem"] in FINDINGS:
            return " ".join(filter(None, [match["lead"], match["stem"]])), 0
    return (text, 1) if text.split(" ")[-1] in FINDINGS else None


def _word(folded: str) -> int | None:
    """Which class a word is, or two ways of saying the same: "positive (+)", "1 = active"."""
    if folded in YES or folded in NO:
        return int(folded in YES)
    twice = _TWICE.fullmatch(folded)
    if twice is None:
        return None
    first, second = twice["first"], twice["second"]
    for index, (words, *marks) in enumerate([(NO, "-", "0"), (YES, "+", "1")]):
        known = [one in words or one in marks for one in (first, second)]
        if all(known) and (first in words or second in words):
            return index
    return None


def _polarity(folded: str) -> int | None:
    """Which class a text is by itself, in any column; None if it is neither."""
    if folded in YES or folded in NO:
        return int(folded in YES)
    if folded in ("+", "-"):
        return int(folded == "+")
    finding, signed = _finding(folded), _SIGNED.fullmatch(folded)
    if finding:
        return finding[1]
    return int((signed["sign"] or signed["inner"]) == "+") if signed else None


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


@dataclass(frozen=True)
class ClassCode:
    """How the texts of a column are read as classes of a task.

    Attributes
    ----------
    task
        Whose classes they are.
    codes
        Index of the class by text; None for a text that says that there is none.
    problems
        By text, why it is not read.
    why
        Which texts are which class, for the report.
    doubts
        Readings that a person should look at.
    """

    task: Task
    codes: Mapping[str, int | None]
    problems: Mapping[str, str]
    why: str = ""
    doubts: list[str] = field(default_factory=list)

    def read(self, text: str) -> int | None:
        """The index of a cell's class; None if it is missing.

        Raises
        ------
        LabelError
            If the text is not a class; the message says what is allowed.
        """
        if text not in self.codes and text not in self.problems:
            # Cells of another column, or with blanks that the column's texts were counted without.
            text = _fold(text)
        if text in self.codes:
            return self.codes[text]
        if text not in self.problems and is_missing(text):
            return None
        raise LabelError(self.problems.get(text) or _refusal(self.task, text))


def _refusal(task: Task, text: str) -> str:
    allowed = ", ".join(task.classes)
    if task.kind == "binary":
        allowed = " or ".join(task.classes[::-1]) or "1 or 0, yes or no"
    return f"'{text}' is not a class of this task; allowed are {allowed}"


def detect_classes(task: Task, counts: Mapping[str, int]) -> ClassCode:
    """How a column writes the classes of a task.

    The task's own class names come first, but for case, dashes and blanks; then, for a binary task,
    1 and 0, ``+`` and ``-``, yes and no and their like in the languages of partners, a property
    with a sign (``BBB+``), and a finding opposite its negation ("toxic", "non-toxic"). What is
    neither class ("equivocal", ``+/-``) is missing. A column that can be read in two ways, or of
    which a fifth cannot be read and the rest is of one class, gives a code that refuses its cells.

    Parameters
    ----------
    task
        A binary or multiclass task.
    counts
        How often each text occurs in the column.

    Examples
    --------
    >>> code = detect_classes(Task("x", "binary"), {"1": 5, "0": 7, "-": 30})
    >>> code.read("1"), code.read("-"), code.doubts
    (1, None, ["'-' (30 times) is read as missing, for there is no '+'"])
    """
    return _Column(task, counts).code()


class _Column:
    """The distinct texts of a column while their meaning is decided."""

    def __init__(self, task: Task, counts: Mapping[str, int]) -> None:
        self.task = task
        self.names = [_fold(name) for name in task.classes]
        self.counts: dict[str, int] = {}
        self.written: dict[str, str] = {}
        self.raw = {text: _fold(text) for text in sorted(counts)}
        for text, folded in self.raw.items():
            self.counts[folded] = self.counts.get(folded, 0) + counts[text]
            self.written.setdefault(folded, plain(text))
        self.codes: dict[str, int | None] = {}
        self.problems: dict[str, str] = {}
        self.doubts: list[str] = []
        # Ways of writing that occur.
        self.ways: list[str] = []

    def code(self) -> ClassCode:
        left = self._named(list(self.counts))
        if self.task.kind == "binary":
            left = self._binary(left)
        left = self._none(left, filter(is_missing, left))
        for text in left:
            self.problems.setdefault(text, _refusal(self.task, self.written[text]))
        self._note()
        # By the texts as they stand too, which spares folding each cell.
        codes = self.codes | {t: self.codes[f] for t, f in self.raw.items() if f in self.codes}
        return ClassCode(self.task, codes, self._problems_by_text(), self._why(), self.doubts)

    def _problems_by_text(self) -> dict[str, str]:
        raw = {t: self.problems[f] for t, f in self.raw.items() if f in self.problems}
        return self.problems | raw

    def _take(self, way: str, left: list[str], meaning: Mapping[str, int]) -> list[str]:
        """Read the texts that have a meaning; returns the others."""
        found = {text: meaning[text] for text in left if text in meaning}
        self.codes |= found
        if found and way not in self.ways:
            self.ways.append(way)
        return [text for text in left if text not in found]

    def _none(self, left: list[str], missing: Iterable[str]) -> list[str]:
        found = set(missing)
        self.codes |= dict.fromkeys(found)
        return [text for text in left if text not in found]

    def _named(self, left: list[str]) -> list[str]:
        """Read what the task calls its classes."""
        exact = {name: index for index, name in enumerate(self.names)}
        loose = {_loose(name): index for name, index in exact.items()}
        if len(loose) < len(exact):
            loose = {}
        numbers = {_numeral(name): index for name, index in exact.items()}
        numbers.pop(None, None)
        meaning = {text: loose[_loose(text)] for text in left if _loose(text) in loose}
        meaning |= {text: numbers[n] for text in left if (n := _numeral(text)) in numbers}
        meaning |= {text: exact[text] for text in left if text in exact}
        return self._take("the task's names", left, meaning)

    def _binary(self, left: list[str]) -> list[str]:
        turned = any(_polarity(name) not in (None, i) for i, name in enumerate(self.names))
        left = self._numerals(left)
        # Names that turn the usual meaning round leave no word with its usual one.
        if not turned:
            left = self._signs(left)
            words = {text: index for text in left if (index := _word(text)) is not None}
            left = self._take("words", left, words)
            left = self._undecided(left)
            left = self._letters(left)
            left = self._stems(left)
            left = self._findings(left)
        left = self._none(left, filter(is_missing, left))
        return self._suspect(left)

    def _numerals(self, left: list[str]) -> list[str]:
        numbers = {text: value for text in left if (value := _numeral(text)) is not None}
        if not numbers or any(_numeral(name) is not None for name in self.names):
            return left
        found = set(numbers.values())
        others = {text for text, value in numbers.items() if value not in (0.0, 1.0)}
        problem = ""
        if found == {-1.0, 1.0}:
            meaning = {text: int(value > 0) for text, value in numbers.items()}
            return self._take("1 and -1", left, meaning)
        if found == {-1.0, 0.0, 1.0}:
            problem = "-1, 0 and 1 in one column: one of them means missing, and nothing says which"
        elif found == {1.0, 2.0}:
            problem = (
                "1 and 2 in one column, and nothing says which is positive; "
                f"{_how_to_state(['1', '2'])}"
            )
        elif self._share(others, numbers) >= _MANY:
            problem = (
                f"the column holds {len(found):,} different numbers, not 1 and 0; a task made of "
                "numbers has a threshold"
            )
        if problem:
            for text in numbers:
                self.problems[text] = f"'{self.written[text]}' is not a class: {problem}"
            return [text for text in left if text not in numbers]
        known = {text: int(value) for text, value in numbers.items() if text not in others}
        return self._take("1 and 0", left, known)

    def _share(self, part: Iterable[str], whole: Iterable[str]) -> float:
        return sum(self.counts[t] for t in part) / max(1, sum(self.counts[t] for t in whole))

    def _signs(self, left: list[str]) -> list[str]:
        # Beside plain signs, those in brackets are weak findings.
        if {"(+)", "(-)"} <= set(left) and not {"+", "-"} & set(left):
            return self._take("(+) and (-)", left, {"(+)": 1, "(-)": 0})
        if "+" in left:
            return self._take("+ and -", left, {"+": 1, "-": 0})
        if "-" not in left:
            return left
        if any(not is_missing(text) for text in self.counts):
            self.doubts.append(
                f"'-' ({_times(self.counts['-'])}) is read as missing, for there is no '+'"
            )
        return self._none(left, ["-"])

    def _letters(self, left: list[str]) -> list[str]:
        letters = {text for text in left if len(text) == 1}
        meaning: dict[str, int] = {}
        for yes, no in _LETTERS.items():
            if {yes, no} <= letters:
                meaning |= {yes: 1, no: 0}
        if not self.ways and letters <= _LETTERS_ALONE and letters == set(left):
            meaning |= {letter: int(letter in "yt") for letter in letters}
        return self._take("letters", left, meaning)

    def _findings(self, left: list[str]) -> list[str]:
        """A finding and its negation."""
        found = {text: finding for text in left if (finding := _finding(text)) is not None}
        if len({stem for stem, _ in found.values()}) != 1:
            return left
        own = _loose(_fold(self.task.name))
        # "non-toxic" is no negative of a task called nontoxic.
        if any(_loose(text) in own for text, (_, index) in found.items() if index == 0):
            return left
        meaning = {text: index for text, (_, index) in found.items()}
        return self._take(_BY_NEGATION, left, meaning)

    def _stems(self, left: list[str]) -> list[str]:
        """A name with a sign, ``BBB+`` and ``BBB-``, or with an answer, "substrate: yes"."""
        signed = {text: match for text in left if (match := _SIGNED.fullmatch(text))}
        if len({match["stem"] for match in signed.values()}) == 1:
            meaning = {t: int("+" in (m["sign"], m["inner"])) for t, m in signed.items()}
            left = self._take("a name with + and -", left, meaning)
        answers = {text: match for text in left if (match := _ANSWER.fullmatch(text))}
        meaning = {
            text: int(match["word"] in YES)
            for text, match in answers.items()
            if match["word"] in YES or match["word"] in NO
        }
        stems = {answers[text]["stem"] for text in meaning}
        # With one of both only, "hardly active" would be a name with an answer.
        if len(stems) == 1 and set(meaning.values()) == {0, 1}:
            left = self._take("a name with yes and no", left, meaning)
        return left

    def _undecided(self, left: list[str]) -> list[str]:
        found = [text for text in left if text.replace("_", " ") in UNDECIDED]
        if found:
            shown = ", ".join(f"'{self.written[text]}'" for text in found[:_SHOWN])
            times = _times(sum(self.counts[text] for text in found))
            self.doubts.append(f"{shown} ({times}) is neither class, and read as missing")
        return self._none(left, found)

    def _suspect(self, left: list[str]) -> list[str]:
        """Refuse what needs its opposite, and has an unknown text in its place.

        Were it read, "toxic" would be learned and "safe" set aside.
        """
        if set(self.ways) - {_BY_NEGATION, "letters", "a name with + and -"}:
            return left
        read = [text for text, index in self.codes.items() if index is not None]
        one_class = len({self.codes[text] for text in read}) < 2
        if not left or not one_class or self._share(left, left + read) < _MANY:
            return left
        words = sorted(left + read, key=lambda text: (-self.counts[text], text))
        shown = " and ".join(f"'{self.written[text]}'" for text in words[:2])
        if self.task.classes:
            problem = _refusal(self.task, self.written[left[0]])
        elif len(words) == 1:
            problem = f"{shown} is not a class that is known; {_how_to_state(words)}"
        else:
            ordered = sorted(words[:2], key=lambda text: _negates(text, words[:2]), reverse=True)
            more = f" (and {len(words) - 2} more)" if len(words) > 2 else ""
            problem = (
                f"nothing says which of {shown}{more} is positive; "
                f"{_how_to_state(self.written[text] for text in ordered)}"
            )
        for text in words:
            self.codes.pop(text, None)
            self.problems[text] = problem
        return []

    def _note(self) -> None:
        found = {index for index in self.codes.values() if index is not None}
        if self.task.kind != "binary":
            return
        if len(found) == 1:
            only = "positive" if 1 in found else "negative"
            self.doubts.append(f"all labels are of one class, the {only} one")
        ways = [way for way in self.ways if way != _BY_NEGATION]
        if len(ways) > 1:
            self.doubts.append(f"classes are written in several ways: {', '.join(ways)}")

    def _why(self) -> str:
        parts = []
        names = self.task.classes or ("negative", "positive")
        for index in sorted({code for code in self.codes.values() if code is not None}):
            texts = [text for text in self.counts if self.codes.get(text) == index]
            texts.sort(key=lambda text: (-self.counts[text], text))
            shown = ", ".join(f"'{self.written[text]}'" for text in texts[:_SHOWN])
            parts.append(f"{names[index]}: {shown}{', ...' if len(texts) > _SHOWN else ''}")
        return "; ".join(parts)


def _negates(folded: str, others: Iterable[str]) -> bool:
    """Whether a text looks like the negation of another, of whatever it says."""
    return any(
        folded != other and re.fullmatch(rf"(non?|not|in|im|un|ir)[ _-]?{re.escape(other)}", folded)
        for other in others
    )


def _how_to_state(words: Iterable[str]) -> str:
    quoted = ", ".join(f'"{word}"' for word in words)
    return (
        "state [negative, positive] for the task in the federation file, "
        f"such as classes = [{quoted}]"
    )
