//go:build race

package dnssec_test

const raceEnabled = true
