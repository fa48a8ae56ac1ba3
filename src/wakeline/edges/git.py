"""The git program, called so that nothing in a repository or in the environment can change what it does.

Hooks never run, prompts never wait, objects are checked on arrival, and what comes from outside stands behind
`--end-of-options`. No decision is made on git's words, only on exit codes and on what a second look finds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from wakeline.edges import process
from wakeline.errors import ExitCode, WakelineError

if TYPE_CHECKING:
    from pathlib import Path

VERSION_WANTED = (2, 30)
OUR_LOCK = "wakeline-lock"
_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "protocol.file.allow=always"),
    *("-c", "protocol.ext.allow=never"),
    *("-c", "transfer.fsckObjects=true"),
    *("-c", "gc.auto=0"),
    *("-c", "commit.gpgSign=false"),
)
# Without a name git asks the name service who it is, for every reflog line: 10 s each where that is dead.
IDENTITY = {
    "GIT_AUTHOR_NAME": "wakeline",
    "GIT_AUTHOR_EMAIL": "wakeline@localhost",
    "GIT_COMMITTER_NAME": "wakeline",
    "GIT_COMMITTER_EMAIL": "wakeline@localhost",
}
SIZES = ("ls-tree", "-r", "-l", "-z", "--end-of-options")  # of a commit's files
_KEPT = ("HOME", "PATH", "USER", "LOGNAME", "SSH_AUTH_SOCK", "GIT_SSH_COMMAND", "GIT_SSH", "TMPDIR", "XDG_CONFIG_HOME")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "GIT_SSL_CAINFO")
_WORDS_KEPT = 800
_LOCK_S, _LOCK_LOOK_S = 90.0, 0.02
_VERSION, _TOP = ("version",), ("rev-parse", "--show-toplevel")
_beside: dict[tuple[tuple[str, ...], str], _Beside] = {}


class GitFailed(WakelineError):
    """git said no. `words` are its own last words, with control characters taken out."""

    def __init__(self, verb: str, *, code: int, words: str) -> None:
        super().__init__(f"git {verb}: {words or f'exit code {code}'}")
        self.code = code
        self.words = words


class GitMissing(WakelineError):
    """There is no git program here, or one that is too old."""

    exit_code = ExitCode.USAGE


def call(
    arguments: Sequence[str],
    *,
    at: Path | str,
    timeout_s: float = 60.0,
    input: bytes | None = None,  # noqa: A002 - as in process.run
    env: Mapping[str, str] | None = None,
    kept_bytes_max: int = process.KEPT_BYTES_MAX,
    stop_fds: Sequence[int] = (),
) -> process.Finished:
    """Run git and return whatever it said. Raises GitMissing, and GitFailed when it runs out of time."""
    argv = ["git", *_OPTIONS, *speaking(arguments), "-C", str(at), *arguments]
    try:
        given = {**environment(), **(env or {})}
        return process.run(
            argv,
            env=given,
            timeout_s=timeout_s,
            input=input,
            kept_bytes_max=kept_bytes_max,
            stop_fds=stop_fds,
        )
    except process.CommandMissing as error:
        raise GitMissing("git is not installed here", hint="apt-get install git") from error
    except process.CommandTimedOut as error:
        raise GitFailed(arguments[0], code=-1, words=f"no answer within {timeout_s:g} s") from error


def ask(
    arguments: Sequence[str],
    *,
    at: Path | str,
    timeout_s: float = 60.0,
    input: bytes | None = None,  # noqa: A002 - as in process.run
    env: Mapping[str, str] | None = None,
    kept_bytes_max: int = process.KEPT_BYTES_MAX,
    stop_fds: Sequence[int] = (),
) -> str:
    """Run git and return its output. Raises GitFailed for any exit code but 0, and for more output than is kept."""
    finished = call(
        arguments,
        at=at,
        timeout_s=timeout_s,
        input=input,
        env=env,
        kept_bytes_max=kept_bytes_max,
        stop_fds=stop_fds,
    )
    if finished.code != 0:
        raise GitFailed(arguments[0], code=finished.code, words=clean(finished.err or finished.out))
    if finished.dropped:
        words = f"{finished.dropped} bytes more than the {kept_bytes_max} that are read"
        raise GitFailed(arguments[0], code=0, words=words)
    return finished.out.decode("utf-8", "replace")


def speaking(arguments: Sequence[str]) -> tuple[str, ...]:
    """What is said of the protocol to a git that asks a remote with these arguments: over `git://` the older one.

    There git writes a question of protocol 2 in pieces, and the network holds the second one back until the first is
    acknowledged, which takes 40 ms: `ls-remote` 48 ms against 4 (git 2.39; RFC 1122, 4.2.3.4). Over SSH and HTTPS
    nothing is held back, and protocol 2 spares the list of all refs: thousands, on a busy GitHub repository.
    """
    return ("-c", "protocol.version=0") if any(each.startswith("git://") for each in arguments) else ()


def environment() -> dict[str, str]:
    """The environment of every git of ours: nothing of GIT_* but how to reach a server."""
    kept = {key: value for key in (*_KEPT, *_PROXIES) if (value := os.environ.get(key))}
    said = {"LC_ALL": "C.UTF-8", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "0"}
    return {**said, **IDENTITY, **kept, **_tokens(os.environ)}


def _tokens(given: Mapping[str, str]) -> dict[str, str]:
    """In a run of GitHub Actions: its own token for its repository, another one for further ones of that server.

    Said in git's environment: an argument would show in the list of processes, and a file would outlive us. The last
    setting of a header counts, and an empty one forgets those before it (git-config(1), http.extraHeader).
    """
    server, own = given.get("GITHUB_SERVER_URL", "").rstrip("/"), given.get("GITHUB_REPOSITORY", "")
    settings: list[tuple[str, str]] = []
    if server and (token := given.get("WAKELINE_REPOSITORIES_TOKEN", "")):
        settings.append((f"http.{server}/.extraheader", _header(token)))
    if server and own and (token := given.get("WAKELINE_GITHUB_TOKEN", "")):
        settings += [(f"http.{server}/{own}.git.extraheader", said) for said in ("", _header(token))]
    found = {"GIT_CONFIG_COUNT": str(len(settings))} if settings else {}
    for index, (key, value) in enumerate(settings):
        found.update({f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value})
    return found


def _header(token: str) -> str:
    import base64  # noqa: PLC0415 - in a run of GitHub Actions alone

    return "Authorization: Basic " + base64.b64encode(f"x-access-token:{token}".encode()).decode()


def clean(words: bytes) -> str:
    """The last of what git said, on one line, safe to show on a terminal."""
    text = words.decode("utf-8", "replace").strip()[-_WORDS_KEPT:]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)


class _Beside(threading.Thread):
    """A question to git that is asked while there is other work. What it raises waits for whoever wants the answer."""

    def __init__(self, arguments: Sequence[str], *, at: Path) -> None:
        super().__init__(daemon=True)
        self._arguments, self._at = arguments, at
        self._said: str | Exception = ""

    def run(self) -> None:
        try:
            self._said = ask(self._arguments, at=self._at)
        except Exception as error:  # noqa: BLE001 - raised by `answer`
            self._said = error

    def answer(self) -> str:
        """What git said. Raises what `ask` raises."""
        self.join()
        if isinstance(self._said, Exception):
            raise self._said
        return self._said


def begin(folder: Path) -> None:
    """Ask the two questions that nearly every verb begins with, while what it needs is imported."""
    for arguments in (_VERSION, _TOP):
        beside = _beside[arguments, str(folder)] = _Beside(arguments, at=folder)
        beside.start()


def _ask_once(arguments: tuple[str, ...], *, at: Path) -> str:
    """The answer to a question that may have been asked already; it counts once."""
    beside = _beside.pop((arguments, str(at)), None)
    return ask(arguments, at=at) if beside is None else beside.answer()


def version(*, at: Path) -> tuple[int, ...]:
    """The version of the git program, as numbers."""
    words = _ask_once(_VERSION, at=at).split()
    return tuple(int(part) for part in words[2].split(".")[:3] if part.isdigit())


def ensure_version(*, at: Path) -> None:
    """Raises GitMissing for a git that is too old for what we ask of it."""
    found = version(at=at)
    if found < VERSION_WANTED:
        shown, wanted = (".".join(map(str, each)) for each in (found, VERSION_WANTED))
        raise GitMissing(f"git {shown} is too old: {wanted} or newer is wanted", hint="apt-get install git")


def top(folder: Path) -> Path:
    """The root of the work tree that a folder is in. Raises GitFailed outside of one."""
    from pathlib import Path  # noqa: PLC0415 - a machine that looks at the ledger's end needs none

    return Path(_ask_once(_TOP, at=folder).strip())


def setting(name: str, *, at: Path) -> str:
    """The user's own setting, or nothing."""
    finished = call(["config", "--get", name], at=at)
    return finished.out.decode("utf-8", "replace").strip() if finished.code == 0 else ""


def resolve(name: str, *, at: Path) -> str:
    """The full id of the commit that a name stands for. Raises GitFailed for what is no commit."""
    return ask(["rev-parse", "--quiet", "--verify", "--end-of-options", f"{name}^{{commit}}"], at=at).strip()


def is_ancestor(older: str, newer: str, *, at: Path) -> bool:
    """True when `newer` contains `older`; a commit is its own ancestor. Raises GitFailed for an unknown one."""
    finished = call(["merge-base", "--is-ancestor", "--end-of-options", older, newer], at=at)
    if finished.code in (0, 1):
        return finished.code == 0
    raise GitFailed("merge-base", code=finished.code, words=clean(finished.err))


def show_file(commit: str, path: str, *, at: Path) -> str | None:
    """The text of a file in a commit, or None where the commit has no such file."""
    finished = call(["cat-file", "blob", "--end-of-options", f"{commit}:{path}"], at=at)
    return finished.out.decode("utf-8", "replace") if finished.code == 0 else None


def remote_refs(url: str, *patterns: str, at: Path | str, timeout_s: float = 60.0) -> dict[str, str]:
    """What a remote's refs point at. Raises GitFailed with the remote's words when it cannot be asked."""
    listing = ask(["ls-remote", "--quiet", "--end-of-options", url, *patterns], at=at, timeout_s=timeout_s)
    pairs = (line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    return {ref: commit for commit, ref in pairs}


def missing(commits: Iterable[str], *, at: Path) -> set[str]:
    """Those of these full ids that a repository of ours lacks; one question to git, and none for what lies loose."""
    from wakeline.edges import objects  # noqa: PLC0415 - a look at the remote alone need not pay for it

    asked = [each for each in dict.fromkeys(commits) if not objects.is_loose(at, each)]
    if not asked:
        return set()
    answers = ask(["cat-file", "--batch-check=%(objecttype)"], at=at, input="\n".join(asked).encode() + b"\n")
    return {each for each, answer in zip(asked, answers.splitlines()) if answer != "commit"}


def has_all_of_its_history(repository: Path) -> bool:
    """False for one that is shallow, and for one that lacks objects until they are asked for (a partial clone)."""
    shallow = ask(["rev-parse", "--is-shallow-repository"], at=repository).strip() != "false"
    return not shallow and call(["config", "--get-regexp", r"^remote\..*\.promisor$"], at=repository).code != 0


@contextlib.contextmanager
def locked(repository: Path, *, limit_s: float = _LOCK_S) -> Iterator[None]:
    """One user of a copy of ours at a time: two fetches into it would fail on each other's locks.

    Raises GitFailed where another has it for too long: one that was stopped (Ctrl-Z) would keep everybody waiting.
    """
    ends = time.monotonic() + limit_s
    with (repository / OUR_LOCK).open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= ends:
                    words = f"another wakeline of yours has {repository} for {limit_s:g} s: is it stopped? jobs; fg"
                    raise GitFailed("lock", code=-1, words=words) from None
                time.sleep(_LOCK_LOOK_S)
        yield


def ensure_bare(folder: Path) -> Path:
    """A bare repository of ours, made when it is not there, and made whole when it is damaged. Safe twice.

    A repository whose HEAD or config cannot be read is none to git. They say nothing that is not the same in each of
    ours, so they are written anew; objects that are missing are fetched again.
    """
    if not is_whole(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        make_way_for_init(folder)
        ask(["init", "--quiet", "--bare", "."], at=folder)
    return folder


def sum_of_sizes(listing: bytes) -> int:
    """How many bytes the files have together that `git ls-tree` named by SIZES."""
    sizes = (line.split(b"\t", 1)[0].split()[-1] for line in listing.split(b"\0") if line)
    return sum(int(size) for size in sizes if size.isdigit())


def make_way_for_init(folder: Path) -> None:
    """Remove what a power cut has left of HEAD and config: `git init` keeps an empty one, and gives up at a lock."""
    for name in ("HEAD", "config"):
        (folder / name).unlink(missing_ok=True)
        (folder / f"{name}.lock").unlink(missing_ok=True)


def is_whole(folder: Path) -> bool:
    """True when git would take it for a repository. Costs two reads."""
    try:
        head, config = ((folder / name).read_bytes() for name in ("HEAD", "config"))
    except OSError:
        return False
    return head.startswith(b"ref: refs/") and b"[core]" in config


def is_sound(folder: Path) -> bool:
    """Whether a copy of ours can be read, and no git that was killed has left its lock there. Costs a walk over it."""
    checked = call(["fsck", "--full", "--no-dangling", "--no-progress"], at=folder, timeout_s=600.0)
    return checked.code == 0 and not any(folder.glob("*.lock")) and not any((folder / "refs").rglob("*.lock"))


def renew(folder: Path) -> None:
    """Empty a copy of ours that cannot be read any more: everything in it stands on its remote. Our own lock stays."""
    import shutil  # noqa: PLC0415 - hardly ever

    for each in folder.iterdir():
        if each.name == OUR_LOCK:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    ensure_bare(folder)
