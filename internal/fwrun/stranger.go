package fwrun

import "strings"

// IsProverInterface reports whether an interface is this host's end of the link to a stranger that
// a proof plays.
func IsProverInterface(device string) bool { return strings.HasPrefix(device, "p53-") }
