// Package hangup keeps SIGHUP from ending a process that has only just begun, and does not
// yet know what it is to do. Whoever has a server reload may do so at any moment; one that is
// starting reads its files anyway.
//
// It imports nothing but package syscall, so that it is made ready before nearly everything
// else, which takes milliseconds. What it cannot change is the time before that: until the
// kernel has loaded the program and its runtime has begun, SIGHUP ends it as it ends others.
package hangup

// before is what SIGHUP did before it was ignored.
var before = hold()

// Release has SIGHUP do what it did before. Whoever waits for it asks for it first
// ([os/signal.Notify]), and then calls Release.
func Release() { before.restore() }
