package fingerprint

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"

	"port53/internal/wire"
)

// An Asker exchanges messages with the one server that is looked at. It is called by
// several goroutines at once.
type Asker interface {
	// Ask sends a message once, in a datagram or over TCP, and returns the reply to it
	// that comes within wait: one of a whole header and the message's ID.
	Ask(ctx context.Context, msg []byte, tcp bool, wait time.Duration) (Reply, error)
}

// A Reply is one reply as it came, and how long it took.
type Reply struct {
	Raw []byte
	RTT time.Duration
}

// An Identity is what a server tells of itself. Its texts are as they came.
type Identity struct {
	Texts        map[string]string // by the name that was asked: what TXT of class CH was answered
	Replies      map[string]Reply  // to these questions
	NSID         []byte            // RFC 5001
	NSIDAnswered bool              // the question for it was answered
	Software     Software          // by what it tells
	Err          error             // why nothing is known
}

// The confidence in a text that servers send: they may lie, but seldom do; it is more
// where the behaviour agrees, and less where it does not.
const (
	sureAgreed    = 10
	sureText      = 9
	sureDisagreed = 5
	Enough        = 4 // below it, behaviour names no product
)

// How texts of class CH are asked for: BIND answers three such questions of a kind a
// second and drops the others (its built-in view has a rate limit).
const (
	askTries    = 3 // of an ordinary question: it and two repetitions (RFC 1035, section 4.2.1)
	chaosAtOnce = 2
	chaosPause  = 350 * time.Millisecond
	chaosTries  = 2
	chaosLeast  = 700 * time.Millisecond // for a reply to the repetition to be due again
	lostRTTs    = 4                      // a reply that takes four round trips is lost rather than late

	ednsSize = 1232 // DNS Flag Day 2020
)

// VersionNames are what is asked for the version, the first one by all means, the others
// if it tells none.
func VersionNames() []string { return []string{"version.bind", "version.server", "version.pdns"} }

// otherNames are what is asked beside the version.
func otherNames() []string {
	return []string{"hostname.bind", "id.server", "authors.bind", "trustanchor.unbound", "cachesize.bind"}
}

// Identify asks a server what it is: texts of class CH and NSID over UDP, or the version
// over TCP where UDP is silent. zone is what an ordinary question asks for, in wire form;
// wait is for each reply until the server has shown how fast it is.
func Identify(ctx context.Context, server Asker, zone []byte, wait time.Duration) *Identity {
	id := &Identity{Texts: map[string]string{}, Replies: map[string]Reply{}}
	banners := id.ask(ctx, server, zone, wait)
	for _, b := range banners {
		if s := ReadBanner(b); s.Product != "" {
			id.Software = s
			id.Software.Method, id.Software.Confidence = MethodText, sureText
			return id
		}
	}
	if s := ReadBanner(string(id.NSID)); s.Product != "" {
		id.Software = s
		id.Software.Method, id.Software.Confidence = MethodNSID, sureText
	} else if len(banners) > 0 {
		id.Software.Banner = wire.Printable(banners[0])
	}
	return id
}

// ask asks for all that servers tell of themselves, and returns the versions.
func (id *Identity) ask(ctx context.Context, server Asker, zone []byte, wait time.Duration) (banners []string) {
	// The first reply tells how long to wait for the others: servers may be silent to
	// some of them.
	first, err := repeat(ctx, server, func() []byte { return query(zone, wire.TypeSOA, wire.ClassIN) }, false, wait, askTries)
	udp := err == nil
	if udp {
		wait = min(wait, max(lostRTTs*first.RTT, chaosLeast))
	}
	var mu sync.Mutex
	ask := func(name string) error {
		reply, err := repeat(
			ctx,
			server,
			func() []byte { return query(wireName(name), wire.TypeTXT, wire.ClassCH) },
			!udp,
			wait,
			chaosTries,
		)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		id.Replies[name] = reply
		if text := textOf(reply.Raw); text != "" {
			id.Texts[name] = text
			if strings.HasPrefix(name, "version.") {
				banners = append(banners, text)
			}
		}
		return nil
	}
	names := VersionNames()
	failed := ask(names[0])
	if !udp && failed != nil {
		id.Err = failed
		return nil
	}
	if names = names[1:]; len(banners) > 0 {
		names = nil
	}
	var wg sync.WaitGroup
	if udp {
		names = append(names, otherNames()...)
		wg.Go(func() { id.askNSID(ctx, server, wait) })
	}
	tick := time.NewTicker(chaosPause)
	defer tick.Stop()
	for i, n := range names {
		if i+1 >= chaosAtOnce {
			<-tick.C
		}
		wg.Go(func() { _ = ask(n) }) // what is silent is none
	}
	wg.Wait()
	return banners
}

// askNSID asks for the name server identifier.
func (id *Identity) askNSID(ctx context.Context, server Asker, wait time.Duration) {
	reply, err := repeat(ctx, server, func() []byte {
		b := wire.AppendOPT(query(wire.Root, wire.TypeSOA, wire.ClassIN), ednsSize, false, wire.AppendOption(nil, wire.OptionNSID, nil))
		b[11]++
		return b
	}, false, wait, askTries)
	if err != nil {
		return
	}
	var m wire.Message
	_ = m.Parse(reply.Raw) // what was read until a fault stands
	id.NSIDAnswered = true
	id.NSID, _ = m.Option(wire.OptionNSID)
}

// repeat asks until it is answered, with a new message each time.
func repeat(ctx context.Context, server Asker, msg func() []byte, tcp bool, wait time.Duration, tries int) (reply Reply, err error) {
	for range tries {
		if reply, err = server.Ask(ctx, msg(), tcp, wait); err == nil || ctx.Err() != nil {
			break
		}
	}
	return reply, err
}

// Judge tells what a server is: by what it says, confirmed by how it behaves, or by that
// alone.
func Judge(id *Identity, marks Marks) Software {
	s := id.Software
	if id.Err != nil || marks.Silent() {
		return s
	}
	m := marks.Match()
	sure := m.Confidence()
	switch {
	case sure < Enough:
	case s.Product == "":
		s.Product, s.Method, s.Confidence = m.Product, MethodBehaviour, sure
		s.CPE = cpe(m.Product, "")
	case s.Product == m.Product:
		s.Confidence = sureAgreed
	case sure >= sureText-1:
		s.Confidence = sureDisagreed
	}
	return s
}

// query returns a question with a random ID.
func query(name []byte, t wire.Type, class wire.Class) []byte {
	b := wire.AppendQuery(nil, binary.BigEndian.Uint16(random(2)), 0, name, t)
	binary.BigEndian.PutUint16(b[len(b)-2:], uint16(class))
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// wireName reads a name that is written in this package.
func wireName(s string) []byte {
	n, err := wire.ParseName(s)
	if err != nil {
		panic("fingerprint: bad name in the program: " + s)
	}
	return n
}

// textOf returns the strings of the first TXT record of an answer, or "".
func textOf(raw []byte) string {
	var m wire.Message
	_ = m.Parse(raw) // what was read until a fault stands
	var all []string
	for _, rr := range m.Records {
		if rr.Section != wire.Answer || rr.Type != wire.TypeTXT {
			continue
		}
		var b strings.Builder
		for d := rr.Data; len(d) > 0; d = d[1+int(d[0]):] { // whole strings: what has others is malformed
			b.Write(d[1 : 1+int(d[0])])
		}
		all = append(all, b.String())
	}
	if len(all) == 0 {
		return ""
	}
	return slices.Min(all) // servers turn the order of records from reply to reply
}
