package console

import (
	"context"
	"fmt"
	"net"
	"net/http"
)

// A Caller is who gave a command: a process of this machine, as the system says (SO_PEERCRED).
type Caller struct {
	UID, PID int // -1: not known
}

// String returns the caller for people.
func (c Caller) String() string {
	if c.UID < 0 {
		return "control socket"
	}
	return fmt.Sprintf("uid %d, pid %d", c.UID, c.PID)
}

type callerKey struct{}

// withCaller keeps who has opened a connection.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, callerKey{}, callerOf(c))
}

// callerFrom returns who has opened the connection of a request.
func callerFrom(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return Caller{-1, -1}
}

// A fate is a reply that remembers what was wrong.
type fate struct {
	http.ResponseWriter
	err  error
	note string
}

// Unwrap is for [http.ResponseController].
func (f *fate) Unwrap() http.ResponseWriter { return f.ResponseWriter }

// tell has told hear of each command that changes something.
func tell(next http.Handler, told func(by Caller, command, zone string, err error)) http.Handler {
	if told == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := &fate{ResponseWriter: w}
		next.ServeHTTP(f, r)
		if r.Method != http.MethodGet {
			command := r.URL.Path[1:]
			if f.note != "" {
				command += ": " + f.note
			}
			told(callerFrom(r.Context()), command, r.URL.Query().Get("zone"), f.err)
		}
	})
}

// ListenerOf returns the process that listens at a control socket; 0: the system does not tell.
func ListenerOf(ctx context.Context, socket string) (int, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return max(callerOf(c).PID, 0), nil
}
