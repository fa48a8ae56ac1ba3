"""Steps: what they see, what is told of their output, and when they are not run again."""

import contextlib
import re
import stat
import sys
import time
from pathlib import Path

import pytest
from one_machine import is_alive, service, step

import peak
from wakeline.agent import wire

pytestmark = pytest.mark.slow

PYTHON = sys.executable


def log(box, release: int, name: str) -> str:
    return (box.home / f"shop/uat/logs/{release}/{name}.log").read_text()


def build(run: str, **more):
    return step("build", run, inputs=("lock.txt",), outputs=("made",), **more)


def test_a_step_sees_a_clean_environment(box):
    (box.path / "shared").mkdir(parents=True)
    (box.path / "shared/.env").write_text("export COLOUR='dark blue' # x\nMODE=uat # why\n")
    order = box.order(
        3,
        box.commit(),
        shared=(".env",),
        env_file=".env",
        search_path=("~/tools", "bin"),
        roles=("web",),
        steps=(step("build", "env >seen; pwd >>seen"),),
    )
    box.run(order, LEAKED="yes", PATH_EXTRA="x")
    seen = box.text("current/seen")
    assert "LEAKED" not in seen
    for line in ("COLOUR=dark blue", "MODE=uat", "WAKELINE_RELEASE=3", "WAKELINE_ROLE=web", "WAKELINE_MACHINE=web"):
        assert f"{line}\n" in seen
    assert f"WAKELINE_COMMIT={order.commit}" in seen
    assert f"PATH={Path.home()}/tools:{box.path}/releases/3/bin:/usr/local/sbin" in seen
    assert f"npm_config_cache={box.path}/cache/" in seen


def test_a_missing_env_file_fails_before_any_step(box):
    order = box.order(1, box.commit(), env_file=".env", steps=(step("build", "touch ../../ran"),))
    last = box.run(order).events[-1]
    assert "env_file .env cannot be read" in last["cause"]
    assert not (box.path / "ran").exists()


def test_a_command_that_is_not_found_says_where_it_was_looked_for(box):
    last = box.run(box.order(1, box.commit(), steps=(step("build", "no-such-tool --x"),))).events[-1]
    assert "command not found" in last["cause"]
    assert "looked in /usr/local/sbin, /usr/local/bin" in last["cause"]


def test_a_secret_that_a_step_prints_is_masked_in_events_and_log(box):
    (box.path / "shared").mkdir(parents=True)
    (box.path / "shared/.env").write_text("DB=postgres://me:s3cr3t@db/x\nAPI_KEY=abcd1234efgh\nDEBUG=1\n")
    run = 'echo "key $API_KEY, url $DB, debug $DEBUG, s3cr3t"; exit 3'
    order = box.order(1, box.commit(), shared=(".env",), env_file=".env", steps=(step("build", run),))
    talk = box.run(order)
    told = talk.text() + talk.events[-1]["cause"] + log(box, 1, "build") + str(box.journal())
    assert "key ***, url ***, debug 1, ***" in told
    assert "abcd1234efgh" not in told
    assert "s3cr3t" not in told


def test_escapes_and_binary_bytes_are_cleaned(box):
    run = (
        r"""printf '\033[31mred\033[0m \033]0;title\007\000\001\377 \033]8;;http://x\033\\link\n'; printf 'a\rb\rc\n'"""
    )
    talk = box.run(box.order(1, box.commit(), steps=(step("build", run),)))
    assert talk.of("output")[0]["text"] == "red \ufffd link"
    assert talk.of("output")[1]["text"] == "c"


def test_ten_megabytes_on_one_line_are_cut_in_bounded_memory(box):
    run = f"""{PYTHON} -c "import sys; sys.stdout.write('x' * 10_000_000); print(); print('after')" """
    talk = box.run(box.order(1, box.commit(), steps=(step("build", run),)))
    lines = [each["text"] for each in talk.of("output")]
    assert [len(line) for line in lines] == [4096, 5]
    assert len(log(box, 1, "build")) < 10_000


GIGABYTE = 1 << 30
LINES = """
import os, sys
first, last = b"the beginning\\n", b"the very end\\n"
os.write(1, first)
line = b"%s" + b"\\n" * {newline}
blob, left = line * (65536 // len(line)), {size}
while left > 0:
    left -= os.write(1, blob)
os.write(1, b"\\n" + last)
sys.exit({code})
"""


@pytest.mark.parametrize(("word", "newline"), [("y", 1), ("x" * 80, 1), ("x" * 5000, 1), ("x" * 5000, 0)])
@pytest.mark.parametrize("once", [False, True])
def test_a_step_that_prints_a_gigabyte_costs_neither_memory_nor_disk_and_its_end_is_kept(box, word, newline, once):
    """Seen: its log took the whole gigabyte of the machine's disk."""
    script = box.root / "print.py"
    script.write_text((LINES % word).format(newline=newline, size=GIGABYTE, code=3))
    more = {"once": True, "verify": "exit 10"} if once else {}
    talk = box.start(box.order(1, box.commit(), lead=once, steps=(step("build", f"{PYTHON} {script}", **more),)))
    memory = 0.0
    while not talk.is_over:
        memory = max(memory, *map(peak.peak_mib, [talk.process.pid, *keepers(talk.process.pid)]))
        time.sleep(0.02)
    cause = talk.end()["cause"]
    assert cause.startswith("build: exit 3\n")
    assert cause.endswith("the very end")
    kept = log(box, 1, "build")
    assert "the beginning\n" in kept
    assert re.search(r"\n\[\d{8,} bytes of output are left out here\]\n", kept)
    assert "\nthe very end\n" in kept
    assert len(kept) < 40 << 20
    assert (box.home / "shop/uat/journal.jsonl").stat().st_size < 200_000  # the cause is in it, fifteen lines
    assert sum(len(str(event)) for event in talk.events) < 2 * wire.OUTPUT_BYTES
    assert 0 < memory < 64, f"{memory:.0f} MiB"


def keepers(pid: int) -> list[int]:
    """The process that keeps a once-step company, which reads all that it prints."""
    with contextlib.suppress(OSError):  # it has ended
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(each) for each in found if "keeper" in Path(f"/proc/{each}/cmdline").read_text()]
    return []


def test_a_secret_in_what_is_cut_is_not_shown_by_halves(box):
    (box.path / "shared").mkdir(parents=True)
    (box.path / "shared/.env").write_text("API_KEY=abcd1234efgh5678\n")
    run = f"""{PYTHON} -c "import os; print('\\n'.join([os.environ['API_KEY']] * 1_500_000))" """
    order = box.order(1, box.commit(), shared=(".env",), env_file=".env", steps=(step("build", run),))
    talk = box.run(order)
    assert talk.events[-1]["outcome"] == "ok"
    for line in set(talk.text().splitlines()) | set(log(box, 1, "build").splitlines()):
        assert line == "***" or line.startswith("["), line


def test_logs_are_kept_on_the_machine_for_their_owner_alone(box):
    box.run(box.order(4, box.commit(), steps=(step("a/b c", "echo said"),)))
    (kept,) = (box.home / "shop/uat/logs/4").iterdir()
    assert "said" in kept.read_text()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700


def test_a_step_past_its_limit_is_ended_with_all_that_it_started(box):
    run = "sleep 300 & echo $! >../../pid; sleep 300"
    began = time.monotonic()
    last = box.run(box.order(1, box.commit(), steps=(step("build", run, timeout_s=0.5),))).events[-1]
    assert "longer than its limit of 0.5 s" in last["cause"]
    assert time.monotonic() - began < 8
    assert not is_alive(int(box.text("pid")))


def test_what_a_step_leaves_in_the_background_does_not_keep_it_from_ending(box):
    began = time.monotonic()
    last = box.run(box.order(1, box.commit(), steps=(step("build", "sleep 300 & echo done"),))).events[-1]
    assert last["outcome"] == "ok"
    assert time.monotonic() - began < 8


def test_a_step_of_another_role_is_not_run(box):
    order = box.order(1, box.commit(), roles=("web",), steps=(step("beat", "exit 1", roles=("scheduler",)),))
    assert box.run(order).events[-1]["outcome"] == "ok"


def test_unchanged_inputs_are_not_built_again_and_say_so(box):
    run = "mkdir -p made && cp lock.txt made/out && echo x >>../../runs"
    box.run(box.order(1, box.commit("one", **{"lock.txt": "a"}), steps=(build(run),)))
    talk = box.run(box.order(2, box.commit("two"), steps=(build(run),)))
    finished = talk.of("step_finished")[0]
    assert (finished["ran"], "unchanged" in finished["why"]) == (False, True)
    box.run(box.order(3, box.commit("three", **{"lock.txt": "b"}), steps=(build(run),)))
    assert box.text("runs") == "x\nx\n"
    assert box.text("current/made/out") == "b"
    assert box.text("releases/2/made/out") == "a"


def test_outputs_outlive_the_release_that_made_them(box):
    steps = (build("mkdir -p made && cp lock.txt made/out"),)
    for number in (1, 2, 3, 4):
        box.run(box.order(number, box.commit(f"{number}", **{"lock.txt": "same"}), steps=steps, keep=2))
    assert not (box.path / "releases/1").exists()
    assert box.text("current/made/out") == "same"


def test_a_step_that_fails_midway_leaves_no_outputs_to_link(box):
    commit = box.commit("one", **{"lock.txt": "a"})
    run = "mkdir -p made; echo half >made/out; test -e ../../allowed && echo whole >made/out"
    box.run(box.order(1, commit, steps=(build(run),)))
    (box.path / "allowed").touch()
    box.run(box.order(2, box.commit("two"), steps=(build(run),)))
    assert box.text("current/made/out") == "whole\n"


def test_an_output_that_names_its_release_is_made_again_and_says_why(box):
    run = "mkdir -p made && pwd -P >made/where.pth && echo x >>../../runs"
    box.run(box.order(1, box.commit("one", **{"lock.txt": "a"}), steps=(build(run),)))
    talk = box.run(box.order(2, box.commit("two"), steps=(build(run),)))
    finished = talk.of("step_finished")[0]
    assert finished["ran"]
    assert f"made/where.pth names {box.path}/releases/1" in finished["why"]
    assert box.text("current/made/where.pth").strip().endswith("releases/2")
    assert box.text("releases/1/made/where.pth").strip().endswith("releases/1")


def test_a_virtual_environment_made_at_its_place_is_shared_across_releases(box):
    run = f'{PYTHON} -m venv --without-pip "$WAKELINE_OUTPUT" && echo x >>../../runs'
    steps = (step("packages", run, inputs=("lock.txt",), outputs=(".venv",)),)
    web = service("web", restart=".venv/bin/python -c 'import sys; print(sys.prefix)' >../../prefix")
    for number in (1, 2, 3):
        order = box.order(number, box.commit(f"{number}", **{"lock.txt": "a"}), steps=steps, services=(web,), keep=2)
        assert box.run(order).events[-1]["outcome"] == "ok"
    assert box.text("runs") == "x\n"
    assert box.text("prefix").strip() == f"{box.path}/releases/3/.venv"
    assert "../../cache/" in str((box.path / "current/.venv").readlink())


def test_a_tool_that_replaces_the_link_by_a_folder_is_understood(box):
    run = "rm -rf made; mkdir made; echo new >made/out"
    steps = (build(run),)
    box.run(box.order(1, box.commit("one", **{"lock.txt": "a"}), steps=steps))
    talk = box.run(box.order(2, box.commit("two"), steps=steps))
    assert not talk.of("step_finished")[0]["ran"]
    assert box.text("current/made/out") == "new\n"


def test_an_output_that_is_a_file_is_shared_too(box):
    steps = (step("build", "cp lock.txt app.css", inputs=("lock.txt",), outputs=("app.css",)),)
    box.run(box.order(1, box.commit("one", **{"lock.txt": "a"}), steps=steps))
    talk = box.run(box.order(2, box.commit("two"), steps=steps))
    assert not talk.of("step_finished")[0]["ran"]
    assert box.text("current/app.css") == "a"


def test_a_step_that_makes_no_output_has_failed(box):
    last = box.run(box.order(1, box.commit("one", **{"lock.txt": "a"}), steps=(build("true"),))).events[-1]
    assert last["outcome"] == "failed"
    assert "made no made" in last["cause"]


def test_the_environment_file_counts_as_an_input(box):
    shared = box.path / "shared"
    shared.mkdir(parents=True)
    more = {"shared": (".env",), "env_file": ".env", "steps": (build('mkdir -p made; echo "$URL" >made/out'),)}
    for number, url in ((1, "first"), (2, "second")):
        (shared / ".env").write_text(f"URL={url}\n")
        box.run(box.order(number, box.commit(f"{number}", **{"lock.txt": "a"}), **more))
    assert box.text("current/made/out") == "second\n"


def test_a_step_without_outputs_is_skipped_while_its_inputs_stay_and_run_again_after_a_failure(box):
    def order(number, run):
        return box.order(number, box.commit(f"{number}"), steps=(step("cron", run, inputs=("lock.txt",)),))

    box.commit("start", **{"lock.txt": "a"})
    say = "echo x >>../../runs"
    box.run(order(1, say))
    assert not box.run(order(2, say)).of("step_finished")[0]["ran"]
    box.run(order(3, "exit 1"))
    box.run(order(4, say))
    assert box.text("runs") == "x\nx\n"
