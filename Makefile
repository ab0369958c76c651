# `make demo` and `make test` do everything they need on a bare Debian or Ubuntu machine.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin
# What installs, mounts and enters needs root. The environment (BEHUNT_*, proxies) goes along.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo -E)

# What behunt drives on Debian, and what only its tests look with.
PACKAGES = python3-venv mmdebstrap zstd tar debian-archive-keyring libarchive-tools \
	signify-openbsd signify-openbsd-keys
# What the runner qemu needs, besides QEMU.
MACHINE_PACKAGES = busybox-static e2fsprogs kmod makefs ovmf qemu-utils
# zfs-fuse gives real pools without a kernel module, and conflicts with a real ZFS's programs.
TEST_PACKAGES = $(MACHINE_PACKAGES) chromium distro-info-data dnsmasq-base dosfstools fdisk git gpg \
	grub-common grub-efi-amd64-bin ipmitool iproute2 ipxe libnfs-utils mandoc mksh mtree-netbsd \
	netcat-openbsd nfs-ganesha-vfs openipmi openssh-client openssh-server openssl osinfo-db \
	postgresql psmisc tcsh tmux util-linux yash \
	$(shell command -v zpool >/dev/null || echo zfs-fuse)

.PHONY: demo test fast lint bench setup setup-machines setup-test clean

demo: setup
	$(SUDO) $(RUN)/behunt bisect --os debian --from 11 --to sid --package python3 --jobs 2 \
		--html demo-report.html docs/examples/crypt.sh

test: lint
	$(SUDO) $(RUN)/python -m pytest tests/fast tests/conformance tests/real

# Seconds, no root, nothing installed into the system beyond the packages above.
fast: setup-test
	$(RUN)/python -m pytest tests/fast

lint: setup-test
	$(RUN)/ruff check
	$(RUN)/ruff format --check
	$(RUN)/mypy

bench: setup-test
	$(SUDO) $(RUN)/python benchmarks/run.py

setup: $(VENV)/.behunt

# To boot releases as virtual machines (docs/vm.md).
setup-machines: setup
	tools/apt-install $(MACHINE_PACKAGES)
	tools/apt-install-qemu

setup-test: $(VENV)/.tests

$(VENV)/.behunt: pyproject.toml tools/apt-install
	tools/apt-install $(PACKAGES)
	[ -x $(RUN)/python ] || $(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.tests: $(VENV)/.behunt tools/apt-install-qemu
	tools/apt-install $(TEST_PACKAGES)
	tools/apt-install-qemu
	$(RUN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	touch $@

clean:
	rm -rf $(VENV) build dist demo-report.html
