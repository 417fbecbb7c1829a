// Package query tells a person what came back from a DNS server: as dig prints it, in
// plain words, or as JSON.
//
// Package exchange asks; [Understand] reads a reply as the answer to its question, and
// [Meaning] puts it into sentences. [Tracer.Trace] follows delegations from the root as a
// resolver does, and [Validator.Validate] walks the chain of trust from the anchors, each
// saying every step.
//
// What comes from the network is escaped before it is text: names and data in
// presentation form, everything else by [Safe]. The package reads no configuration but
// the system's resolv.conf, and keeps nothing between two questions.
package query
