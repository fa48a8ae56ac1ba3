"""The steps that `wakeline init` writes, run by the agent with the real pip, without a network."""

from __future__ import annotations

import zipfile

import pytest
from one_machine import service

from wakeline import starting
from wakeline.fleet import load

WHEEL = "wheels/greeting-1.0-py3-none-any.whl"
ABOUT = "greeting-1.0.dist-info"
IN_WHEEL = {
    "greeting.py": "def say():\n    import app\n    print('greeting', app.WORD)\n",
    f"{ABOUT}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
    f"{ABOUT}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{ABOUT}/entry_points.txt": "[console_scripts]\ngreet = greeting:say\n",
}


def wheel(place) -> None:
    place.parent.mkdir()
    with zipfile.ZipFile(place, "w") as archive:
        for name, text in IN_WHEEL.items():
            archive.writestr(name, text)
        archive.writestr(f"{ABOUT}/RECORD", "".join(f"{name},,\n" for name in [*IN_WHEEL, f"{ABOUT}/RECORD"]))


def deploy(box, number: int) -> dict[str, bool]:
    """One release of one more commit. Returns which steps were run."""
    commit = box.commit(f"{number}", **{"app.py": f"WORD = 'release {number}'\n"})
    steps = load(starting.write(starting.look(box.work)).text).steps
    web = service("web", restart="PYTHONPATH=. .venv/bin/greet >../../said")
    talk = box.run(box.order(number, commit, steps=steps, services=(web,), keep=2))
    assert talk.events[-1]["outcome"] == "ok", talk.events[-1]
    return {event["step"]: event["ran"] for event in talk.of("step_finished")}


@pytest.mark.slow
def test_packages_from_pip_serve_later_releases_also_after_the_first_is_pruned(box):
    wheel(box.work / WHEEL)
    (box.work / "requirements.txt").write_text("--no-index\n--find-links wheels\ngreeting==1.0\n")
    assert [deploy(box, number) for number in (1, 2, 3)] == [{"packages": ran} for ran in (True, False, False)]
    assert box.text("said") == "greeting release 3\n"
    assert not (box.path / "releases/1").exists()


@pytest.mark.slow
def test_a_package_from_a_file_of_the_release_is_installed_anew_because_it_names_the_release(box):
    wheel(box.work / WHEEL)
    (box.work / "requirements.txt").write_text(f"./{WHEEL}\n")
    assert [deploy(box, number) for number in (1, 2)] == [{"packages": True}] * 2
    assert box.text("said") == "greeting release 2\n"
