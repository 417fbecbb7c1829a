package engine_test

import (
	"flag"
	"testing"

	"port53/internal/dnstest"
	"port53/internal/dnstest/subject"
)

var update = flag.Bool("update", false, "rewrite what scenarios expect")

// TestScenarios plays what the engine does for clients that want recursion, on simulated
// networks in simulated time. What the resolver does stands in package resolver. See
// package dnstest for the format.
func TestScenarios(t *testing.T) {
	dnstest.Play(t, "testdata/*.txtar", *update, subject.New)
}
