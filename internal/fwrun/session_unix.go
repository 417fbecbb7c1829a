//go:build unix

package fwrun

import "syscall"

// ownSession keeps a program from being killed with us.
func ownSession(attr *syscall.SysProcAttr) { attr.Setsid = true }
