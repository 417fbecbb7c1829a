package app

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"port53/internal/config"
	"port53/internal/top"
)

// LearnedFile is the file in the state directory with the domains that look like tunnels.
const LearnedFile = "tunnel-domains"

// learnedTime is how often the file is looked at, and written if there is something new.
const learnedTime = time.Minute

// errNotLearning is why no domain is accepted or rejected.
var errNotLearning = errors.New(
	"nothing is learned here: set policy: {tunnel: {learn: {period: 7d}}}, or list the domain in policy.tunnel.exempt",
)

// learning is which domains are no tunnels, and what is known of their file. App.reloading guards it.
type learning struct {
	*top.Learned           // nil: nothing is learned
	text         []byte    // of the file as it was last read or written; nil: there was none
	read         bool      // it has been looked for
	ended        bool      // that the period is over was said
	fault        string    // why it could not be read or written, as it was said
	unreadable   bool      // it is damaged, or of another version: it is not written over
	until        time.Time // of the period, as it was said
}

// followLearning begins or ends to learn as the configuration says. a.reloading is held, or nobody else is there yet.
func (a *App) followLearning(c *config.Config) {
	l := &a.watch.learning
	if !c.Learns() || a.watch.isClosed() {
		a.keepLearned()
		*l = learning{}
		return
	}
	if l.Learned == nil {
		l.Learned = top.NewLearned(func(d *top.TunnelDomain) {
			a.log.Warn("many clients look like a tunnel to this domain: it is not reported or blocked any more; "+
				"port53 tunnel reject undoes this", "domain", d.Domain, "days", d.Days, "clients", d.Clients, "octets", d.Octets,
				"first", d.First.Format(time.RFC3339), "last_clients", d.Who)
		})
	}
	rule := c.Policy.Tunnel.Learn
	l.SetRule(top.LearnRule{Period: rule.Period, Clients: rule.Clients, Days: rule.Days})
	a.syncLearned()
}

// syncLearned brings the file and the memory together. If somebody has edited the file, it counts; otherwise it
// is written if there is something new. a.reloading is held.
func (a *App) syncLearned() {
	l := &a.watch.learning
	if l.Learned == nil {
		return
	}
	now := time.Now()
	text, err := a.readLearned()
	edited := text != nil && (!l.read || !bytes.Equal(text, l.text))
	if err == nil && edited {
		if err = l.Read(text, now); err != nil {
			err = fmt.Errorf("%w; the file is left as it is", err)
		}
	}
	switch {
	case err != nil:
		l.unreadable = true // and not written over
		a.learnedFault("read", err)
		return
	case edited && l.read:
		a.log.Info("the file of learned domains was edited, and has been read again", "file", a.learnedPath())
	case text == nil && l.text != nil:
		a.log.Warn("the file of learned domains was removed: learning begins again", "file", a.learnedPath())
		l.Begin(now)
	case text == nil && !l.read:
		l.Begin(now)
	}
	l.text, l.read, l.unreadable = text, true, false
	if t := a.watch.tunnels.Load(); t != nil {
		t.Forgive()
	}
	a.tellLearning(now)
	if l.Due(now) || l.fault != "" {
		a.writeLearned(now)
	}
}

// readLearned returns the text of the file, or nil if there is none.
func (a *App) readLearned() ([]byte, error) {
	if err := a.added.open(); err != nil {
		return nil, err
	}
	if a.added.dir == nil {
		return nil, a.added.shut
	}
	text, err := a.added.dir.Read(LearnedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if text == nil {
		text = []byte{} // a file without anything is not no file
	}
	return text, err
}

// writeLearned writes the file, if the state directory is this server's.
func (a *App) writeLearned(now time.Time) {
	l := &a.watch.learning
	text := l.Text(now)
	err := a.state.refusal()
	if err == nil {
		err = a.added.writeFile(LearnedFile, text)
	}
	if err != nil {
		l.Failed()
		a.learnedFault("write", err)
		return
	}
	if l.text = text; l.fault != "" {
		a.log.Info("the file of learned domains is in use again", "file", a.learnedPath())
		l.fault = ""
	}
	l.SetFault("")
}

// keepLearned writes what is not in the file yet, unless somebody has edited that.
func (a *App) keepLearned() {
	l := &a.watch.learning
	if l.Learned == nil || l.unreadable || !l.Unsaved() {
		return
	}
	if text, err := a.readLearned(); err == nil && bytes.Equal(text, l.text) {
		a.writeLearned(time.Now())
	}
}

// learnedFault logs why the file cannot be used, once.
func (a *App) learnedFault(verb string, err error) {
	l := &a.watch.learning
	text := "it cannot be " + map[string]string{"read": "read", "write": "written"}[verb] + ": " + err.Error()
	l.SetFault(text)
	if text == l.fault {
		return
	}
	l.fault = text
	a.log.Error("cannot "+verb+" the file of learned domains", "file", a.learnedPath(), "error", err.Error())
}

// tellLearning logs until when something is learned, and that the time is over.
func (a *App) tellLearning(now time.Time) {
	l := &a.watch.learning
	r := l.Report(now)
	passing := 0
	for _, d := range r.Domains {
		if d.Verdict == top.DomainLearned || d.Verdict == top.DomainAccepted {
			passing++
		}
	}
	switch {
	case r.Active && !r.Until.Equal(l.until):
		l.until, l.ended = r.Until, false
		a.log.Info("learning which domains look like tunnels but are not", "until", r.Until.Format(time.RFC3339),
			"clients", r.Clients, "days", r.Days, "domains", passing)
	case !r.Active && !l.ended:
		l.until, l.ended = time.Time{}, true
		a.log.Info("learning which domains are no tunnels has ended: port53 tunnel list shows what was learned",
			"ended", r.Until.Format(time.RFC3339), "domains", passing)
	}
}

func (a *App) learnedPath() string { return filepath.Join(a.added.path, LearnedFile) }

// watchLearned keeps the file and the memory together.
func (a *App) watchLearned() {
	tick := time.NewTicker(learnedTime)
	defer tick.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		a.reloading.Lock()
		a.syncLearned()
		a.reloading.Unlock()
	}
}

// A JudgedDomain is what a command made of a domain.
type JudgedDomain struct {
	top.TunnelDomain
}

// Note is what the audit has of it.
func (d JudgedDomain) Note() string { return d.Domain }

// JudgeTunnel implements [console.Admin].
func (a *App) JudgeTunnel(domain string, accept bool) (any, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	l := &a.watch.learning
	if l.Learned == nil {
		return nil, errNotLearning
	}
	a.syncLearned() // somebody may have edited it
	if l.unreadable {
		return nil, fmt.Errorf("%s: %s; mend or remove the file, and run port53 reload", a.learnedPath(), l.fault)
	}
	d, err := l.Judge(domain, accept, time.Now())
	if err != nil {
		return nil, err
	}
	if t := a.watch.tunnels.Load(); t != nil {
		t.Forgive()
	}
	if a.writeLearned(time.Now()); l.fault != "" {
		return nil, fmt.Errorf("%s: %s; it counts until the server stops", a.learnedPath(), l.fault)
	}
	return JudgedDomain{d}, nil
}
