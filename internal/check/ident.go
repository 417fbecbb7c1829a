package check

import (
	"context"
	"sync"
	"time"

	"port53/internal/fingerprint"
)

// An asker lets package fingerprint ask the server of a run.
type asker struct{ r *Run }

// Ask is as fingerprint.Asker has it.
func (a asker) Ask(ctx context.Context, msg []byte, tcp bool, wait time.Duration) (fingerprint.Reply, error) {
	var m *Reply
	var err error
	if tcp {
		m, err = a.r.askTCP(ctx, msg, wait)
	} else {
		m, err = a.r.askOnce(ctx, a.r.Server, msg, wait)
	}
	if err != nil {
		return fingerprint.Reply{}, err
	}
	return fingerprint.Reply{Raw: m.Raw, RTT: m.RTT}, nil
}

// identityOf returns what a server tells of itself, which is asked once for all checks.
func identityOf(ctx context.Context, r *Run) *fingerprint.Identity {
	return r.once("identity "+r.Server.Addr.String(), func() any {
		return fingerprint.Identify(ctx, asker{r}, apex(r), r.timeout())
	}).(*fingerprint.Identity)
}

// marksOf returns the marks of a server's behaviour, which is asked once for all checks.
// Over UDP nobody may answer.
func marksOf(ctx context.Context, r *Run) fingerprint.Marks {
	return r.once("behaviour "+r.Server.Addr.String(), func() any {
		return fingerprint.Behaviour(ctx, asker{r}, apex(r), r.timeout())
	}).(fingerprint.Marks)
}

// softwareOf tells what a server is.
func softwareOf(ctx context.Context, r *Run) fingerprint.Software {
	if r.Shared == nil {
		r.Shared = new(sync.Map) // before both look for it
	}
	var marks fingerprint.Marks
	var wg sync.WaitGroup
	wg.Go(func() { marks = marksOf(ctx, r) })
	id := identityOf(ctx, r)
	wg.Wait()
	return fingerprint.Judge(id, marks)
}

// once is Memo for all targets that share the gate, as they may share servers.
func (r *Run) once(key string, f func() any) any {
	if r.Options == nil || r.Options.Gate == nil {
		return r.Memo(key, f)
	}
	v, _ := r.Options.Gate.known.LoadOrStore(key, sync.OnceValue(f))
	return v.(func() any)()
}
