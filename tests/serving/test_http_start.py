"""Tests of what a server has done before its first request comes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SERVICE = """
import bentobatch
from bentobatch.adapters import DataframeInput


class Plain(bentobatch.BentoService):
    @bentobatch.api(input=DataframeInput(columns=["x"]), batch=True)
    def predict(self, df):
        return df.x
"""
_PROBE = """
import sys
from plain_service import Plain
from bentobatch.serving.call import Call
from bentobatch.serving.exchange import ServedService

service = Plain()
assert "pandas" not in sys.modules
endpoint = ServedService(service).endpoint("/predict")
before = set(sys.modules)
call = Call("predict", {"content-type": "application/json"}, b"[[1.0]]")
assert endpoint.reply(endpoint.batcher.submit(endpoint.read(call)).result(), call).status == 200
print(sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_the_first_request_does_not_wait_for_libraries(tmp_path: Path) -> None:
    """What the adapters import late, for who only declares an api, is there before a server takes requests, and before it
    forks; also where the service's own code does not import it."""
    (tmp_path / "plain_service.py").write_text(_SERVICE)
    (tmp_path / "probe.py").write_text(_PROBE)
    done = subprocess.run([sys.executable, "probe.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "pandas" not in done.stdout
