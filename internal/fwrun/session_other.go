//go:build !unix

package fwrun

import "syscall"

// ownSession keeps a program from being killed with us.
func ownSession(*syscall.SysProcAttr) {}
