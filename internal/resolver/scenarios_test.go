package resolver_test

import (
	"flag"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
)

var update = flag.Bool("update", false, "rewrite what scenarios expect")

// TestScenarios plays what a resolver has to do, on simulated networks in simulated
// time. See package dnstest for the format.
func TestScenarios(t *testing.T) {
	dnstest.Play(t, "testdata/*.txtar", *update, subject.New)
}
