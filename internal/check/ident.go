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
		m, err = a.r.askTCP(ctx, a.r.Server, msg, wait)
	} else {
		m, err = a.r.askOnce(ctx, a.r.Server, msg, wait)
	}
	if err != nil {
		return fingerprint.Reply{}, err
	}
	return fingerprint.Reply{Raw: m.Raw, RTT: m.RTT}, nil
}

// Identity returns what a server tells of itself, which is asked once for all checks.
func (r *Run) Identity(ctx context.Context) *fingerprint.Identity {
	return onceOfServer(r, Fact[*fingerprint.Identity]{Server: r.Server.Addr}, func() *fingerprint.Identity {
		return fingerprint.Identify(ctx, asker{r}, r.Apex(), r.Timeout())
	})
}

// Behaviour returns the marks of a server's behaviour, which is asked once for all checks.
// Over UDP nobody may answer.
func (r *Run) Behaviour(ctx context.Context) fingerprint.Marks {
	return onceOfServer(r, Fact[fingerprint.Marks]{Server: r.Server.Addr}, func() fingerprint.Marks {
		return fingerprint.Behaviour(ctx, asker{r}, r.Apex(), r.Timeout())
	})
}

// softwareOf tells what a server is.
func softwareOf(ctx context.Context, r *Run) fingerprint.Software {
	if r.Facts == nil {
		r.Facts = new(Facts) // before both look for it
	}
	var marks fingerprint.Marks
	var wg sync.WaitGroup
	wg.Go(func() { marks = r.Behaviour(ctx) })
	id := r.Identity(ctx)
	wg.Wait()
	return fingerprint.Judge(id, marks)
}
