"""Classes as people and programs write them, decided for a whole column.

What one cell means depends on the others: ``-`` is negative beside ``+``, and says "not measured"
beside ``1`` and ``0``. Nothing is guessed: what may be either is refused, with how to state it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fluid.learn.cells.missing import is_missing
from fluid.learn.cells.plain import plain
from fluid.learn.task import LabelError, Task

# English, German, French, Spanish, Portuguese, Italian, Dutch, Scandinavian, Polish, Czech,
# Russian, Japanese, Chinese, Korean.
_YES = (
    "yes true positive pos active act ja wahr positiv aktiv oui vrai positif positive actif active "
    "sí si verdadero cierto positivo activo activa sim verdadeiro ativo ativa vero attivo attiva "
    "waar positief actief sand sann tak prawda pozytywny aktywny ano pravda да истина положительный "
    "активный есть はい 陽性 有 真 あり 是 阳性 陽 活性 예 네 양성 hit ✓ ✔"
).split()
_NO = (
    "no false negative neg inactive inact nein falsch negativ inaktiv non faux négatif negatif "
    "négative inactif inactive falso negativo inactivo inactiva não nao inativo inativa inattivo "
    "inattiva nee onwaar negatief inactief nej falsk nie fałsz negatywny nieaktywny ne nepravda "
    "нет ложь отрицательный неактивный いいえ 陰性 無 偽 なし 否 阴性 不是 没有 无 아니요 아니오 음성 "
    "✗ ✘"
).split()
# What an assay finds a compound to be: its negation is the other class.
_FINDINGS = frozenset(
    """
    active positive toxic mutagenic mutagen carcinogenic carcinogen genotoxic clastogenic
    hepatotoxic cardiotoxic cytotoxic nephrotoxic neurotoxic ototoxic hemolytic haemolytic
    teratogenic phototoxic phospholipidotic irritant irritating corrosive sensitizer sensitiser
    sensitizing permeable penetrant inhibitor inhibiting inhibitory substrate inducer activator
    agonist antagonist binder binding responder reactive soluble stable absorbed bioavailable
    fluorescent selective druglike sensitive
    """.split()
)
_LETTERS = {"y": "n", "t": "f", "p": "n", "a": "i", "j": "n", "o": "n", "s": "n"}
# Neither class.
_UNDECIDED = frozenset(
    """
    +/- -/+ +- -+ ± ∓ (+) (-) (+/-) w+ equivocal inconclusive intermediate indeterminate ambiguous
    borderline undetermined unclear uncertain undecided unspecified questionable marginal weak
    weakly\xa0active weakly\xa0positive weak\xa0positive weak\xa0active slightly\xa0active moderate
    partial mixed conflicting variable grauzone fraglich unklar schwach schwach\xa0positiv
    équivoque equivoque douteux equívoco dudoso inconcluso inconclusivo
    """.replace("\xa0", "_").split()
)
_NEGATION = re.compile(r"(?:non|not|no|nicht|kein|keine|pas|nao|não)(?:[\s_-]+|(?=\w))(?P<stem>.+)")
_PREFIX = re.compile(r"(?:in|im|un|ir|il)(?P<stem>\w{4,})")
_NUMERAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|[+-]?\d+,\d{1,2}", re.ASCII)
_STEM = re.compile(r"(?P<stem>.*[\w)])\s*\(?(?P<sign>[+-])\)?")
_SHOWN = 6


def _fold(text: str) -> str:
    """A text without case, doubled blanks, and blanks before a last sign."""
    return re.sub(r"\s+(?=[+-]$)", "", " ".join(plain(text).casefold().split()))


def _loose(text: str) -> str:
    """A folded text without what joins its words; a sign at its end stays."""
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)|(?<=\w)_+$", "", text)


def _numeral(folded: str) -> float | None:
    if not _NUMERAL.fullmatch(folded):
        return None
    return float(folded.replace(",", "."))


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
        Why a text, or the whole column, is not read.
    why
        What the column's classes are written like; for the report.
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
        folded = text
        for _ in range(2):
            if folded in self.codes:
                return self.codes[folded]
            if folded in self.problems:
                raise LabelError(self.problems[folded])
            folded = _fold(text)
        if is_missing(text):
            return None
        raise LabelError(_refusal(self.task, text))


def _refusal(task: Task, text: str) -> str:
    if task.classes:
        shown = " or ".join(task.classes[::-1]) if task.kind == "binary" else None
        allowed = shown or ", ".join(task.classes)
    else:
        allowed = "1 or 0, yes or no"
    return f"'{text}' is not a class of this task; allowed are {allowed}"


def detect_classes(task: Task, counts: Mapping[str, int]) -> ClassCode:
    """How a column writes the classes of a task.

    The task's own class names come first, then 1 and 0, then words of yes and no and their like in
    the languages of partners, ``+`` and ``-``, and a finding opposite its negation ("toxic",
    "non-toxic"). A column that can be read in two ways, or not at all, gives a code that refuses
    its cells and says why.

    Parameters
    ----------
    task
        A binary or multiclass task.
    counts
        How often each text occurs in the column, empty ones included or not.

    Examples
    --------
    >>> code = detect_classes(Task("x", "binary"), {"1": 5, "0": 7, "-": 30})
    >>> code.read("1"), code.read("-"), code.doubts
    (1, None, ["'-' (30 times) is read as missing, for there is no '+'"])
    """
    column = _Column(task, counts)
    return column.code()


class _Column:
    """The distinct texts of a column while their meaning is decided."""

    def __init__(self, task: Task, counts: Mapping[str, int]) -> None:
        self.task = task
        self.counts: dict[str, int] = {}
        self.written: dict[str, str] = {}
        for text in sorted(counts):
            folded = _fold(text)
            self.counts[folded] = self.counts.get(folded, 0) + counts[text]
            self.written.setdefault(folded, plain(text))
        self.codes: dict[str, int | None] = {}
        self.problems: dict[str, str] = {}
        self.doubts: list[str] = []
        # By way of writing: the texts that are written so.
        self.ways: dict[str, list[str]] = {}

    def code(self) -> ClassCode:
        left = self._names(list(self.counts))
        if self.task.kind == "binary":
            left = self._binary(left)
        else:
            left = [text for text in left if not self._missing(text)]
        for text in left:
            self.problems[text] = _refusal(self.task, self.written[text])
        self._note()
        return ClassCode(self.task, self.codes, self.problems, self._why(), self.doubts)

    def _take(self, way: str, text: str, index: int) -> None:
        self.codes[text] = index
        self.ways.setdefault(way, []).append(text)

    def _missing(self, text: str) -> bool:
        if is_missing(text):
            self.codes[text] = None
            return True
        return False

    def _names(self, texts: list[str]) -> list[str]:
        """Read what the task calls its classes; returns the other texts."""
        names = [_fold(name) for name in self.task.classes]
        exact = {name: index for index, name in enumerate(names)}
        loose = {_loose(name): index for index, name in enumerate(names)}
        if len(loose) < len(names):
            loose = {}
        numbers = {_numeral(name): index for name, index in exact.items()}
        left = []
        for text in texts:
            index = exact.get(text, loose.get(_loose(text)))
            number = _numeral(text)
            if index is None and number is not None:
                index = numbers.get(number)
            if index is None:
                left.append(text)
            else:
                self._take("names", text, index)
        return left

    def _binary(self, left: list[str]) -> list[str]:
        names = [_fold(name) for name in self.task.classes]
        left = self._numerals(left)
        turned = any(_word(name) not in (None, index) for index, name in enumerate(names))
        if not turned:
            left = self._signs(left)
            left = self._words(left)
            left = self._letters(left)
            if not names:
                left = self._stems(left)
                left = self._findings(left)
        left = self._undecided(left)
        left = [text for text in left if not self._missing(text)]
        if not self.ways and 0 < len(left) <= 2:
            for text in left:
                self.problems[text] = self._unknown_words(left)
            return []
        return left

    def _numerals(self, left: list[str]) -> list[str]:
        numbers = {text: _numeral(text) for text in left}
        found = {value for value in numbers.values() if value is not None}
        rest = [text for text, value in numbers.items() if value is None]
        if not found:
            return rest
        meaning: dict[float, int] = {}
        problem = ""
        if found <= {0.0, 1.0}:
            meaning = {0.0: 0, 1.0: 1}
        elif found == {-1.0, 1.0}:
            meaning = {-1.0: 0, 1.0: 1}
        elif found == {-1.0, 0.0, 1.0}:
            problem = "-1, 0 and 1 in one column: one of them means missing, and which is not known"
        elif found == {1.0, 2.0}:
            problem = "1 and 2 in one column: which is the positive class is not known"
        elif len(found) > 2:
            meaning = {0.0: 0, 1.0: 1}
        if len(found) > 2 and not problem and not self._mostly_binary(numbers):
            problem = (
                f"the column has {len(found)} different numbers; with threshold = NUMBER the task "
                "makes classes of them"
            )
        for text, value in numbers.items():
            if value is None:
                continue
            if problem:
                self.problems[text] = f"'{self.written[text]}' is not a class: {problem}"
                if "threshold" not in problem:
                    self.problems[text] += f"; {self._state(['1', '2'])}"
            elif value in meaning:
                self._take("1 and 0" if -1.0 not in meaning else "1 and -1", text, meaning[value])
            else:
                rest.append(text)
        return rest

    def _mostly_binary(self, numbers: Mapping[str, float | None]) -> bool:
        """Whether all but a few of the numbers are 1 or 0."""
        total = sum(self.counts[text] for text, value in numbers.items() if value is not None)
        known = sum(self.counts[text] for text, value in numbers.items() if value in (0.0, 1.0))
        return 2 * known > total

    def _signs(self, left: list[str]) -> list[str]:
        if "+" in left:
            return self._each(left, "+ and -", {"+": 1, "-": 0})
        if "-" in left:
            self.codes["-"] = None
            if self.ways or len(left) > 1:
                self.doubts.append(
                    f"'-' ({self.counts['-']} times) is read as missing, for there is no '+'"
                )
            return [text for text in left if text != "-"]
        return left

    def _words(self, left: list[str]) -> list[str]:
        return self._each(
            left, "words", {text: index for text in left if (index := _word(text)) is not None}
        )

    def _each(self, left: list[str], way: str, meaning: Mapping[str, int]) -> list[str]:
        for text in left:
            if text in meaning:
                self._take(way, text, meaning[text])
        return [text for text in left if text not in meaning]

    def _letters(self, left: list[str]) -> list[str]:
        letters = {text for text in left if text in _LETTERS or text in _LETTERS.values()}
        meaning: dict[str, int] = {}
        for yes, no in _LETTERS.items():
            if yes in letters and no in letters:
                meaning |= {yes: 1, no: 0}
        alone = letters <= {"y", "n", "t", "f"} and not self.ways
        if alone:
            meaning |= {letter: int(letter in "yt") for letter in letters}
        return self._each(left, "letters", meaning)

    def _stems(self, left: list[str]) -> list[str]:
        """``BBB+`` and ``BBB-``, the usual way to write a property that is there or not."""
        found = {text: match for text in left if (match := _STEM.fullmatch(text))}
        stems = {match["stem"] for match in found.values()}
        if len(stems) != 1:
            return left
        meaning = {text: int(match["sign"] == "+") for text, match in found.items()}
        return self._each(left, "a name with + and -", meaning)

    def _findings(self, left: list[str]) -> list[str]:
        """A finding opposite its negation, or one of both alone."""
        meaning: dict[str, int] = {}
        stems = set()
        for text in left:
            if text in _FINDINGS:
                meaning[text] = 1
                stems.add(text)
            elif (stem := _negated(text)) is not None:
                meaning[text] = 0
                stems.add(stem)
        if len(stems) != 1:
            return left
        stem = stems.pop()
        own = _loose(_fold(self.task.name))
        if any(_loose(text) in own and index == 0 for text, index in meaning.items()):
            return left
        del stem
        return self._each(left, "a finding and its negation", meaning)

    def _undecided(self, left: list[str]) -> list[str]:
        found = [
            text for text in left if text in _UNDECIDED or text.replace(" ", "_") in _UNDECIDED
        ]
        for text in found:
            self.codes[text] = None
        if found:
            shown = ", ".join(f"'{self.written[text]}'" for text in found[:_SHOWN])
            times = sum(self.counts[text] for text in found)
            self.doubts.append(f"{shown} ({times} times) is neither class, and read as missing")
        return [text for text in left if text not in found]

    def _state(self, example: Iterable[str]) -> str:
        quoted = ", ".join(f'"{text}"' for text in example)
        return f"state them as [negative, positive] in the federation file, such as classes = [{quoted}]"

    def _unknown_words(self, left: list[str]) -> str:
        shown = " and ".join(f"'{self.written[text]}'" for text in left)
        if self.task.classes:
            return _refusal(self.task, self.written[left[0]])
        if len(left) == 1:
            return f"{shown} is not a class that is known; {self._state(['negative', 'positive'])}"
        ordered = sorted(left, key=lambda text: _negated(text, any_stem=True) is None)
        example = self._state(self.written[text] for text in ordered)
        return f"which of {shown} is the positive class is not known; {example}"

    def _note(self) -> None:
        """Doubts about what was read."""
        found = {index for index in self.codes.values() if index is not None}
        if self.task.kind == "binary" and len(found) == 1:
            only = "positive" if 1 in found else "negative"
            self.doubts.append(f"all labels are of one class, the {only} one")
        ways = [way for way in self.ways if way != "names"]
        if self.task.kind == "binary" and len(ways) > 1:
            self.doubts.append(f"classes are written in several ways: {', '.join(self.ways)}")

    def _why(self) -> str:
        parts = []
        for index in sorted({code for code in self.codes.values() if code is not None}):
            texts = [text for text, code in self.codes.items() if code == index]
            texts.sort(key=lambda text: (-self.counts[text], text))
            shown = ", ".join(f"'{self.written[text]}'" for text in texts[:_SHOWN])
            if self.task.classes:
                name = self.task.classes[index]
            else:
                name = ("negative", "positive")[index]
            parts.append(f"{shown} {'are' if len(texts) > 1 else 'is'} {name}")
        return "; ".join(parts)


def _word(folded: str) -> int | None:
    """1 or 0 for a word, or a letter or sign, of yes or no; None for others."""
    if folded in _YES:
        return 1
    return 0 if folded in _NO else None


def _negated(folded: str, any_stem: bool = False) -> str | None:
    """The finding that a text negates; None if it negates none."""
    for pattern in (_NEGATION, _PREFIX):
        match = pattern.fullmatch(folded)
        if match and (match["stem"] in _FINDINGS or any_stem):
            return match["stem"]
    return None
