"""Help: every command in one group, whole sentences, and examples that can be typed off."""

from __future__ import annotations

import re
import shlex
from inspect import signature

import pytest
import typer.main
from fluid.cli.evaluate import evaluate
from fluid.cli.main import GROUPS, app
from fluid.cli.predict import predict

from fluid.learn.domain import DEFAULT_DOMAIN
from tests.cli.cli_site import run

GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)  # type: ignore[attr-defined]


def help_of(*words: str) -> str:
    outcome = run(*words, "--help")
    assert outcome.code == 0
    assert outcome.stderr == ""
    return outcome.stdout


def examples(command: str) -> list[list[str]]:
    """Command lines in a help text, as a shell would take them."""
    text = re.sub(r" *\\\n +", " ", help_of(command))
    return [shlex.split(line) for line in text.splitlines() if line.strip().startswith("fluid ")]


def test_every_command_is_in_exactly_one_group() -> None:
    grouped = [function.__name__.replace("_", "-") for each in GROUPS.values() for function in each]
    assert sorted(grouped) == COMMANDS


def test_the_overview_lists_each_group_with_whole_sentences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    sections = help_of().split("\n\n")[3:]
    assert [section.splitlines()[0] for section in sections] == [f"{title}:" for title in GROUPS]
    listed = [line for section in sections for line in section.splitlines()[1:]]
    for line in listed:
        assert re.fullmatch(r"  [a-z-]+ +[A-Z].*[a-z]\.", line), line
        assert len(line) <= 80
        assert "..." not in line
    assert sorted(line.split()[0] for line in listed) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_the_example_of_a_help_text_can_be_typed(command: str) -> None:
    found = examples(command)
    assert found
    for words in found:
        assert words[:2] == ["fluid", command]
        with GROUP.make_context("fluid", words[1:], resilient_parsing=False) as context:
            name, parsed, rest = GROUP.resolve_command(context, words[1:])  # type: ignore[attr-defined]
            assert name == command
            made = parsed.make_context(name, list(rest), parent=context)
            assert made.params


@pytest.mark.parametrize("command", ["audit", "evaluate", "inspect", "predict"])
def test_a_help_text_fits_the_terminal(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for line in help_of(command).splitlines():
        assert len(line) <= 80, line


def test_without_arguments_the_help_is_shown() -> None:
    assert run("--version").stdout.startswith("fluid ")
    assert run().code == 2


def test_commands_judge_by_the_default_domain() -> None:
    """The commands write the domain out, for `--help` must not load the library."""
    for function in (evaluate, predict):
        assert signature(function).parameters["domain"].default == DEFAULT_DOMAIN
