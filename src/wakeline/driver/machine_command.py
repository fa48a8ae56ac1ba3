"""The command `wakeline-APP-ENVIRONMENT` that `setup` puts on a machine, for a person who is logged in there.

There is no wakeline on a machine, only its agent, in a folder that the deploy user alone may enter: so the command is
for that user and for root, and says so to anybody else. It takes one word, and only `log` takes more.
"""

from __future__ import annotations

import shlex

from wakeline.fleet.file import FleetFile


def render(file: FleetFile, *, name: str, user: str, home: str) -> str:
    """The shell script. `home` is where the agent lives; exit code 2 is a wrong word or a wrong user."""
    owner = shlex.quote(user)
    return f"""\
#!/bin/sh
# Written by `wakeline setup`: {file.fleet.app} in {file.fleet.environment}, for somebody who is logged in here.
set -eu

usage() {{
    echo "usage: {name} catch-up   look at the ledger now, instead of at the timer's next beat"
    echo "       {name} status     what this machine runs"
    echo "       {name} log        what its units said; more words go to journalctl"
}}

agent() {{
    word=$1
    set -- python3 {home}/agent.pyz --home {home} "$@"
    if [ "$(id -u)" = 0 ]; then
        set -- runuser -u {owner} -- env HOME="$(getent passwd {owner} | cut -d: -f6)" "$@"
    elif [ "$(id -un)" != {owner} ]; then
        echo "error: this is for the user {user}, or for root: sudo {name} $word" >&2
        exit 2
    fi
    if [ ! -e {home}/agent.pyz ]; then
        echo "error: there is no agent in {home}; in a checkout of the application: wakeline setup MACHINE" >&2
        exit 1
    fi
    exec "$@"
}}

case "${{1:-help}}" in catch-up | status | help)
    if [ $# -gt 1 ]; then
        echo "error: {name} $1 takes no more words" >&2
        exit 2
    fi ;;
esac
case "${{1:-help}}" in
    catch-up) agent catch-up --app {file.fleet.app} --environment {file.fleet.environment} ;;
    status) agent status --words ;;
    log)
        shift
        journalctl --quiet --no-pager --unit '{name}-*' "$@" || {{
            code=$?
            echo "error: the journal shows $(id -un) nothing of it; root sees everything: sudo {name} log" >&2
            exit "$code"
        }} ;;
    help | -h | --help) usage ;;
    *)
        {{
            echo "error: {name} knows no such word: $1"
            usage
        }} >&2
        exit 2 ;;
esac
"""
