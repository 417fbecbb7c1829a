// Package query tells a person what came back from a DNS server: as dig prints it, in
// plain words, or as JSON.
//
// Package exchange asks, and package chain walks: from the root to an answer, and along
// the chain of trust. Here a reply is put into sentences ([Meaning]), and so is each step of
// those walks.
//
// What comes from the network is escaped before it is text: names and data in
// presentation form, everything else by [Printable]. The package reads no configuration but
// the system's resolv.conf, and keeps nothing between two questions.
package query
