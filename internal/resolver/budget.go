package resolver

import (
	"time"

	"port53/internal/dnssec"
)

// A budget is what may still be spent for one client question. Every path charges
// it: retries, sub-questions, validation, restarts. It is never refilled.
type budget struct {
	packets  int
	octets   int
	work     dnssec.Work
	heard    bool      // somebody replied
	why      *failure  // why the last one did not
	vain     int       // name servers whose addresses were looked up in vain
	at       time.Time // when it last was looked at the clock: nothing takes long but what does so then
	unix     int64     // the cache's time then
	deadline time.Time
	reply    time.Time // when whoever asked gets SERVFAIL
}

func newBudget(l *Limits, now time.Time) budget {
	return budget{
		packets: l.Packets, octets: l.Octets, at: now, deadline: now.Add(l.Time), reply: now.Add(l.Reply),
		work: dnssec.Work{Signatures: l.Signatures, Failures: maxFailures, Hashes: l.Hashes, Iterations: l.Iterations},
	}
}

// maxFailures is how many signatures may fail to verify for one client question
// (KeyTrap, CVE-2023-50387): one server of a zone that is stale spoils its keys, its DS
// records and what is asked for, and an alias leads through two such zones.
const maxFailures = 8

// left returns how long the question may still take; 0 if anything is used up.
func (b *budget) left() time.Duration {
	if b.packets <= 0 || b.octets <= 0 {
		return 0
	}
	return max(b.deadline.Sub(b.at), 0)
}
