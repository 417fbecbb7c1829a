package fwrun

import "strings"

// IsStrangers tells whether an interface is this machine's end of a stranger's cable.
func IsStrangers(device string) bool { return strings.HasPrefix(device, "p53-") }
