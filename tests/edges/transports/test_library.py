"""The SSH library is imported without starting a compiler, and without touching anybody else's search."""

import ctypes.util
import json
import subprocess
import sys

from wakeline.edges.transports import library

SCRIPT = """
import json, subprocess, sys
started = []
popen = subprocess.Popen.__init__
def noting(self, argv, *rest, **more):
    started.append(argv[0])
    popen(self, argv, *rest, **more)
subprocess.Popen.__init__ = noting
from wakeline.edges.transports import library
library.begin()
print(json.dumps([library.asyncssh().__name__, started]))
"""


def test_importing_it_starts_no_compiler():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    name, started = json.loads(done.stdout)
    assert name == "asyncssh"
    assert [each for each in started if not each.endswith("ldconfig")] == []


def test_others_search_for_libraries_as_before():
    before = ctypes.util.find_library
    library.asyncssh()
    assert ctypes.util.find_library is before


def test_a_library_of_another_name_is_still_searched_for(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"found {name}")
    with library._asking_the_loader():
        assert ctypes.util.find_library("z") == "found z"
        assert ctypes.util.find_library("oqs") == library._loadable()


LEFT_OUT = """
import sys, threading
from wakeline.edges.transports import library
before = sys.getswitchinterval()
library.begin()
asyncssh = library.asyncssh()
known = asyncssh.import_known_hosts(sys.argv[1])
keys, *_ = known.match("web", "", None)
for each in threading.enumerate():  # it gives way for a moment after the library is there
    each is threading.current_thread() or each.join()
print(len(keys), "cryptography.x509" in sys.modules, sys.getswitchinterval() == before)
"""


def test_what_openssh_does_not_speak_is_left_out_and_a_line_of_known_hosts_that_names_it_is_passed_over(tmp_path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    good = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    known = f"web x509v3-ssh-rsa subject=CN=web\nweb {good}\n"
    done = subprocess.run([sys.executable, "-c", LEFT_OUT, known], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "False", "True"], done.stderr
