"""The command line inside the test's own process: what a user's shell would show, without the second that a new process takes."""

from __future__ import annotations

import io
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest import mock

from edgeexit.cli.app import main


def run_edgeexit(*words: object) -> CompletedProcess[str]:
    """Run one command; its exit code, and what it wrote to stdout and stderr.

    For what belongs to the process (imports, signals, closed streams) a test starts one.
    """
    arguments = [str(word) for word in words]
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    code: object = 0
    with (
        warnings.catch_warnings(),
        mock.patch.object(sys, "argv", ["edgeexit", *arguments]),
        mock.patch("edgeexit.cli.app.remove_own"),  # the folders of this process are also other tests'
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
    ):
        warnings.simplefilter("default")
        try:
            main()
        except SystemExit as end:
            code = end.code
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    assert isinstance(code, int)
    return CompletedProcess(arguments, code, out, err)
