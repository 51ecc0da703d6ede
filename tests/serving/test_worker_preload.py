"""This module tests what is found out of a fork before it is made, with a library whose OpenMP does not outlive one."""

from __future__ import annotations

import subprocess
import sys
import textwrap

_SCRIPT = """
    import os, signal, threading
    import lightgbm, numpy
    from bentobatch.serving.gunicorn_preload import lost_threads, main_thread_can_compute

    print(main_thread_can_compute(), lost_threads())
    rows = numpy.random.default_rng(0).random((500, 4))
    model = lightgbm.LGBMClassifier(n_estimators=5, n_jobs=2, verbose=-1).fit(rows, rows[:, 0] > 0.5)
    print(main_thread_can_compute())
    child = os.fork()
    if not child:
        signal.alarm(60)
        thread = threading.Thread(target=lambda: print(model.booster_.predict(rows).shape, flush=True))
        thread.start()
        thread.join()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()
    print(lost_threads())
"""


def test_openmp_that_was_at_work_before_a_fork_is_found_out_and_works_on_threads_after_it() -> None:
    """LightGBM's would hang in the main thread of a worker. So do threads of Python's own, which no fork takes along."""
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-u", "-c", textwrap.dedent(_SCRIPT)],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    known = "False" if sys.platform == "linux" else "True"  # elsewhere it is another OpenMP, which outlives a fork
    assert done.stdout.splitlines() == ["True []", known, "(500,)", "['mine']"]
