"""jux completion: what makes bash, zsh and fish complete the commands.

The shell runs `jux` with the line up to the cursor in _JUX_LINE, and `jux` answers with what may follow. click finds
that out; here is how it is asked and told. It is one script for all programs, because `jux-sign` is `jux sign`.
"""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from pathlib import PurePath

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from pytest_jux.commands import _cli
from pytest_jux.text import visible

# What a shell is given as a word: nothing that it, or anything that reads the line afterwards, could take for more.
_SAFE = re.compile(r"[A-Za-z0-9_.:=-]+")
_CURSOR = "|"  # marks where the word ends that is being completed

_BASH = """\
# Completion of jux for bash, from: jux completion bash

_jux_completion() {
    local answer
    local -a answers
    COMPREPLY=()
    type -P jux >/dev/null || return 0
    mapfile -t answers <<<"$(
        _JUX_LINE=${COMP_LINE:0:COMP_POINT} _JUX_WORD=$2 _JUX_COMPLETE=bash_complete command jux 2>/dev/null </dev/null
    )"
    for answer in "${answers[@]}"; do
        case $answer in
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
            plain,*) COMPREPLY+=("${answer#plain,}") ;;
        esac
    done
}

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)); then
    complete -o nosort -F _jux_completion PROGRAMS
fi
"""

_ZSH = """\
#compdef PROGRAMS
# Completion of jux for zsh, from: jux completion zsh

_jux() {
    local answer what
    local -a answers candidates
    (( $+commands[jux] )) || return 1
    answers=("${(@f)$(
        _JUX_LINE="${(j: :)words[1,CURRENT-1]} $QIPREFIX$IPREFIX$PREFIX" _JUX_COMPLETE=zsh_complete \\
            command jux 2>/dev/null </dev/null
    )}")
    for answer in "${answers[@]}"; do
        case $answer in
            (file|dir) what=$answer ;;
            (plain,*) candidates+=("${answer#plain,}") ;;
        esac
    done
    if (( $#candidates )); then
        _describe -V jux candidates
    elif [[ -n $what ]]; then
        [[ $PREFIX == --*=* ]] && compset -P 1 '*='
        case $what in
            (file) _files ;;
            (dir) _path_files -/ ;;
        esac
    fi
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _jux "$@"
elif (( $+functions[compdef] )); then
    compdef _jux PROGRAMS
else
    print -u2 -r -- 'jux completion: put it behind the line with compinit in ~/.zshrc'
fi
"""

_FISH = """\
# Completion of jux for fish, from: jux completion fish

function __jux_completion
    command -q jux; or return
    set -l line (commandline -cp | string collect)
    set -l word (commandline -ct | string collect)
    for answer in (_JUX_LINE="$line" _JUX_COMPLETE=fish_complete command jux 2>/dev/null </dev/null)
        switch $answer
            case file # fish completes files for what it does not know
                complete -C "__jux_no_such_command $word"
            case dir
                complete -C "__jux_no_such_command $word" | string match -r '.*/$'
            case 'plain,*'
                string replace plain, '' -- $answer
        end
    end
end

complete (string replace --regex -- '^' --command= PROGRAMS) --no-files --keep-order --arguments '(__jux_completion)'
"""


class _Answers(ShellComplete):
    """What a shell asks and is told: words that are safe, in full, or that it is to look for files by itself."""

    word = ""  # the one that is being completed

    def source(self) -> str:
        """Return the script that teaches the shell."""
        return self.source_template.replace("PROGRAMS", " ".join(_programs()))

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one at the cursor, and that."""
        program, *words, word = split_arg_string(os.environ["_JUX_LINE"] + _CURSOR)
        self.word = word.removesuffix(_CURSOR)
        name = PurePath(program).name
        command = [name.removeprefix("jux-")] if self.prog_name == "jux" and name.startswith("jux-") else []
        return command + words, self.word

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return what may follow; a value behind `--option=` with that."""
        name, sign, _ = incomplete.partition("=")
        before = name + sign if sign and name.startswith("--") else ""
        items: list[CompletionItem[str]] = super().get_completions(args, incomplete)
        for item in items:
            item.value = before + item.value
        return [item for item in items if item.type != "plain" or _SAFE.fullmatch(item.value)]

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return an answer in one line."""
        return f"plain,{self.shown(item)}" if item.type == "plain" else item.type

    @abstractmethod
    def shown(self, item: CompletionItem[str]) -> str:
        """Return a word as this shell takes it."""

    def complete(self) -> str:
        """Return the answers; none where anything goes wrong, because nobody asked for a message."""
        try:
            return super().complete()
        except Exception:  # the border to the shell, with somebody in the middle of a line
            if os.environ.get("JUX_DEBUG") == "1":
                raise
            return ""


class _Bash(_Answers):
    name = "bash"
    source_template = _BASH

    def shown(self, item: CompletionItem[str]) -> str:
        # bash replaces what is behind the last `:` or `=`, unless the word is quoted, or the user set it otherwise.
        replaced = "".join(split_arg_string(os.environ.get("_JUX_WORD", self.word)))
        kept = len(self.word) - len(replaced) if self.word.endswith(replaced) else 0
        return item.value[kept:]


class _Zsh(_Answers):
    name = "zsh"
    source_template = _ZSH

    def shown(self, item: CompletionItem[str]) -> str:
        value = item.value.replace(":", "\\:")
        return f"{value}:{_one_line(item.help)}" if item.help else value


class _Fish(_Answers):
    name = "fish"
    source_template = _FISH

    def shown(self, item: CompletionItem[str]) -> str:
        return f"{item.value}\t{_one_line(item.help)}" if item.help else item.value


_SHELLS: dict[str, type[_Answers]] = {shell.name: add_completion_class(shell) for shell in (_Bash, _Zsh, _Fish)}


def _one_line(text: str) -> str:
    return visible(" ".join(text.split()))


def _programs() -> list[str]:
    """Return the names of all our programs."""
    from pytest_jux.commands import command as umbrella

    commands = umbrella.list_commands(click.Context(umbrella))
    return ["jux", *(f"jux-{name}" for name in commands if name != command.name)]


@click.command("completion", context_settings=_cli.CONTEXT)
@click.argument("shell", type=click.Choice([*_SHELLS]), required=False, metavar="|".join(_SHELLS))
@_cli.version_option
def command(shell: str | None) -> None:
    """Print the script by which a shell completes jux, jux-sign and the others when TAB is pressed.

    \b
    Add to ~/.bashrc:
      source <(jux completion bash)
    Add to ~/.zshrc, behind the line with compinit:
      source <(jux completion zsh)
    Add to ~/.config/fish/config.fish:
      jux completion fish | source

    A saved script spares each new shell the start of jux. Save it again after an update.

    \b
    Examples:
      jux completion bash > ~/.jux-completion.bash           and source that in ~/.bashrc
      jux completion zsh > ~/.zfunc/_jux                     with fpath+=~/.zfunc before compinit
      jux completion fish > ~/.config/fish/conf.d/jux.fish

    Exit codes: 0 printed, 1 failed, 64 usage error.
    """
    if shell is None:
        mine = PurePath(os.environ.get("SHELL", "")).name
        hint = f"; yours seems to be {mine}: jux completion {mine}" if mine in _SHELLS else ""
        raise click.UsageError(f"say for which shell: bash, zsh or fish{hint}")
    _cli.write_output(_script(shell).encode())


def _script(shell: str) -> str:
    return _SHELLS[shell](command, {}, "jux", "_JUX_COMPLETE").source()


main = _cli.main_of(command, "jux completion")
