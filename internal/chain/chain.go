// Package chain goes from the root, or from a trust anchor, down to a name, step by step,
// and tells a person of each step: `port53 query --trace` and `--validate`, and the checks
// of delegations and of DNSSEC.
//
// A [Tracer] follows delegations as a resolver does, without a cache: [Tracer.Trace] to an
// answer, [Walk.Fetch] to what a zone's own servers say, [Walk.Delegations] to every zone
// on the way. Each question is a [Step], with whom it went to and what it came to. A
// [Validator] walks the chain of trust: each link is a [Check], secure, insecure, bogus or
// indeterminate, with the reason. It asks a resolver, or a Walk where there is none.
//
// Whether one link holds is not decided here: package dnssec judges, for the resolver
// too, and one suite of scenarios is played against both. [Classify] reads a reply as
// the answer to its question.
//
// Every walk has a budget of questions: whoever delegates in circles gains nothing.
package chain
