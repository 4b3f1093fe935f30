# What to type. `make demo` and `make test` work from a fresh clone with Node, npm and make.
.DEFAULT_GOAL := help
SHELL := /bin/sh

##@ Use
.PHONY: demo
demo: deps ## The main job on real input: one data set, two pods, each with the owners it expects (root)
	bin/csi-driver-idmap demo

.PHONY: doctor
doctor: deps ## What this kernel and machine support
	bin/csi-driver-idmap doctor

##@ Develop
.PHONY: test
test: deps tools ## Every test; those that cannot run here are skipped with their reason
	npm run --silent test:all

.PHONY: test-long
test-long: deps tools ## Breaks things for hours: PARTS='fuzz soak crash faults', of which each has variables: test/long.ts (root; docs/reliability.md)
	npm run --silent test:long -- $(PARTS)

.PHONY: check
check: deps ## Formatting, lint, dead code, layers, generated files, types
	npm run --silent lint
	npm run --silent typecheck

.PHONY: ci
ci: check demo test ## What .ci/run runs

.PHONY: generate
generate: deps ## Make the generated files anew
	npm run --silent generate

.PHONY: build
build: deps ## The production bundle in dist/
	npm run --silent build

.PHONY: image
image: ## The container image, by docker, podman or buildah; BASE=debootstrap where no registry can be reached
	IMAGE='$(IMAGE)' BASE='$(BASE)' BUILD_BASE='$(BUILD_BASE)' BUILDER='$(BUILDER)' PLATFORM='$(PLATFORM)' \
	  ARCHIVE='$(ARCHIVE)' scripts/image

.PHONY: test-image
test-image: deps ## Build the image, and try what is in it (root); variables as for image
	$(MAKE) --no-print-directory image ARCHIVE=$(CURDIR)/dist/image.tar
	IMAGE_ARCHIVE=$(CURDIR)/dist/image.tar npm run --silent test:image

.PHONY: sbom
sbom: deps ## What the image is made of, as CycloneDX: dist/sbom.cdx.json; with IMAGE_ARCHIVE= its Debian packages too
	IMAGE_ARCHIVE='$(IMAGE_ARCHIVE)' npm run --silent sbom

.PHONY: bench
bench: deps tools ## Measure, beside a peer in the same run
	npm run --silent bench

.PHONY: clean
clean: ## Remove what was installed and built
	rm -rf node_modules dist coverage .tools

##@ Other kernels
.PHONY: test-kernel
test-kernel: deps ## KERNEL=6.1 or 6.12: the root suite on that kernel in qemu; FILES=, LIMIT= and more: test/old-kernels/run.ts (root)
	KERNEL='$(KERNEL)' FILES='$(FILES)' COMMAND='$(COMMAND)' PROCESSORS='$(PROCESSORS)' MEMORY='$(MEMORY)' LIMIT='$(LIMIT)' \
	  FILE_LIMIT='$(FILE_LIMIT)' ACCELERATOR='$(ACCELERATOR)' npm run --silent test:old-kernel

##@ A real node
.PHONY: cluster
cluster: deps tools ## A Kubernetes cluster of one node, built from source, with the driver by its chart: a quarter of an hour the first time (root, Go)
	test/cluster/node/build
	test/cluster/node/up
	test/cluster/node/driver

.PHONY: cluster-down
cluster-down: ## Stop it; nothing is left but what was built
	test/cluster/node/down

.PHONY: test-cluster
test-cluster: cluster ## Tests on it, with real pods
	npm run --silent test:cluster

##@ Set up
.PHONY: deps
deps: node_modules/.package-lock.json ## npm packages, exactly those of the lockfile

node_modules/.package-lock.json: package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

.PHONY: tools
tools: ## Debian packages that tests use (as root on Debian; else says what is missing)
	scripts/install-tools

##@ Help
.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
