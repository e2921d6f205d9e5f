help: ## print this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## three environments on this machine, with a tour
	go run ./controlplane/cmd/sallyport demo

test: ## every test that needs neither root nor Node
	go test ./...

race: ## the same under the race detector
	go test -race -shuffle=on -count=1 ./...

lint: ## golangci-lint and buf lint
	go tool -modfile=.ci/tools.mod golangci-lint run ./...
	go tool -modfile=.ci/tools.mod buf lint
	go tool -modfile=.ci/tools.mod buf format -d --exit-code

peers: ## programs of others that tests speak with, into .ci/bin
	.ci/peers

generate: ## protobuf code from proto/
	go tool -modfile=.ci/tools.mod buf generate

golden: ## rewrite golden files; read the diff
	go test ./controlplane/cmd/sallyport ./controlplane/cmd/sallyport/render -update

fuzz: ## each fuzz target for 30 s
	.ci/fuzz 30s

figures: ## the figures of the README, alone
	SALLYPORT_FIGURES=1 go test ./e2e/bench -run 'TestDecide|TestPropagation' -count=1 -v

bench: ## ratios against pairs of others: five rounds, as root, on a quiet machine
	SALLYPORT_RATIOS=1 go test -count=1 ./e2e/bench -run 'TestRatios$$' -v -timeout 60m

records: ## what the record costs, as ratios: five rounds on a quiet machine
	go test -count=1 ./e2e/bench -run 'TestRecords$$' -v

away: ## ten minutes without a control plane under load, gateways killed at random
	go test -count=1 ./e2e -run 'TestDoubleEntry$$' -away 10m -v -timeout 30m

soak: ## ten minutes of load, and nothing left behind
	go test -count=1 ./e2e/bench -run 'TestSoak$$' -v -soak 10m -timeout 30m

spire: ## a mesh on SVIDs of SPIRE, which is built if need be; as root
	.ci/spire
	SALLYPORT_SPIRE=1 go test -count=1 ./e2e/spire -v -timeout 15m

fips: ## tests with the Go Cryptographic Module v1.0.0, in FIPS 140-3 mode
	GOFIPS140=v1.0.0 go test -timeout 20m ./certs/... ./gateway/... ./controlplane/... ./e2e

.PHONY: help demo test race lint peers generate golden fuzz figures bench records away soak spire fips
