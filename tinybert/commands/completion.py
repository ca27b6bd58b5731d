"""The command `completion`: a script by which a shell completes commands, options and files."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tinybert.commands.arguments import parser
from tinybert.files import PROGRAM

BASH = """\
# source <(python runner.py completion bash)
_tinybert() {{
    local words="${{COMP_WORDS[*]}}" current="${{COMP_WORDS[COMP_CWORD]}}" first=1 command options
    [[ "${{COMP_WORDS[0]}}" == python* ]] && first=2
    [[ $first == 2 && "${{COMP_WORDS[1]}}" != *runner.py ]] && return
    command="${{COMP_WORDS[$first]}}"
    if [[ $COMP_CWORD -eq $first ]]; then
        options="{commands}"
    else
        case "$command" in
{cases}
        *) options="{run}" ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$options" -- "$current") $(compgen -f -- "$current"))
}}
complete -o filenames -o default -F _tinybert runner.py ./runner.py python python3
"""
ZSH = "# source <(python runner.py completion zsh)\nautoload -U +X bashcompinit && bashcompinit\n"


def completion(shell: Literal["bash", "zsh"]) -> str:
    """Return the script of a shell."""
    commands = dict(_commands(parser(Path(PROGRAM))))
    cases = [f'        {name}) options="{" ".join(words)}" ;;' for name, words in commands.items()]
    script = BASH.format(
        commands=" ".join(commands), cases="\n".join(cases), run=" ".join(commands["run"])
    )
    return script if shell == "bash" else ZSH + script.partition("\n")[2]


def _commands(top: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Yield each command, and the options and choices that may follow it."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name, sorted(_words(command))


def _words(command: argparse.ArgumentParser) -> set[str]:
    words: set[str] = set()
    for action in command._actions:
        if action.help != argparse.SUPPRESS:
            words |= set(action.option_strings) | set(map(str, action.choices or ()))
        if isinstance(action, argparse._SubParsersAction):
            words |= set().union(*map(_words, action.choices.values()))
    return words
