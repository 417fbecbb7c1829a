// Package conformance proves the authoritative server from outside: its tests
// start port53 and the leading servers beside it, ask them all the same, and
// compare.
//
// Nothing here imports port53: the subject is a program, and with
// CONFORMANCE_SUBJECT=nsd, knot or bind another program takes its place, so
// that a test can be judged too. docs/TESTING.md says how to run the tests and
// how to add a case.
//
// The packages below: probe asks and reads, peers starts servers, zonegen makes
// zones, judge decides.
package conformance
