package check

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"sync"
	"time"

	"port53/internal/wire"
)

// How a server's software was found out.
const (
	MethodText      = "txt"
	MethodNSID      = "nsid"
	MethodBehaviour = "behaviour"
)

// The confidence in a text that servers send: they may lie, but seldom do; it is more
// where the behaviour agrees, and less where it does not.
const (
	sureAgreed    = 10
	sureText      = 9
	sureDisagreed = 5
	sureEnough    = 4 // below it, behaviour names no product
)

// An identity is what a server tells of itself.
type identity struct {
	texts    map[string]string // by name; what CH TXT answered
	replies  map[string]*Reply
	nsid     []byte
	nsidOK   bool // the question for it was answered
	udp      bool // it answers over UDP
	software Software
	err      error // why nothing is known
}

// How texts of class CH are asked for: BIND answers three such questions of a kind a
// second and drops the others (its built-in view has a rate limit).
const (
	chaosAtOnce = 2
	chaosPause  = 350 * time.Millisecond
	chaosTries  = 2
	chaosLeast  = 700 * time.Millisecond // for a reply to the repetition to be due again
)

// versionNames are what is asked for the version, the first one by all means, the others
// if it tells none.
func versionNames() []string { return []string{"version.bind", "version.server", "version.pdns"} }

// otherNames are what is asked beside the version.
func otherNames() []string {
	return []string{"hostname.bind", "id.server", "authors.bind", "trustanchor.unbound", "cachesize.bind"}
}

// identityOf returns what a server tells of itself, which is asked once for all checks.
func identityOf(ctx context.Context, r *Run) *identity {
	return r.once("identity "+r.Server.Addr.String(), func() any {
		id := &identity{texts: map[string]string{}, replies: map[string]*Reply{}}
		banners := id.ask(ctx, r)
		for _, b := range banners {
			if s := bannerSoftware(b); s.Product != "" {
				id.software = s
				id.software.Method, id.software.Confidence = MethodText, sureText
				return id
			}
		}
		if s := bannerSoftware(string(id.nsid)); s.Product != "" {
			id.software = s
			id.software.Method, id.software.Confidence = MethodNSID, sureText
		} else if len(banners) > 0 {
			id.software.Banner = clean(banners[0])
		}
		return id
	}).(*identity)
}

// ask asks for all that servers tell of themselves, and returns the versions.
func (id *identity) ask(ctx context.Context, r *Run) (banners []string) {
	// The first reply tells how long to wait for the others: servers may be silent to
	// some of them.
	first, err := r.Ask(ctx, soaQuery(r))
	one := *r
	if err == nil {
		id.udp = true
		options := *r.Options
		options.Timeout = min(r.timeout(), max(lostRTTs*first.RTT, chaosLeast))
		one.Options = &options
	}
	var mu sync.Mutex
	ask := func(name string) error {
		var m *Reply
		var err error
		for range chaosTries {
			if id.udp {
				m, err = one.askOnce(ctx, r.Server, chaosBytes(name))
			} else {
				m, err = one.AskTCP(ctx, chaosText(name))
			}
			if err == nil || ctx.Err() != nil {
				break
			}
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		id.replies[name] = m
		if text := textOf(m); text != "" {
			id.texts[name] = text
			if strings.HasPrefix(name, "version.") {
				banners = append(banners, text)
			}
		}
		return nil
	}
	names := versionNames()
	failed := ask(names[0])
	if !id.udp && failed != nil {
		id.err = cmp.Or(failed, err)
		return nil
	}
	if names = names[1:]; len(banners) > 0 {
		names = nil
	}
	var wg sync.WaitGroup
	if id.udp {
		names = append(names, otherNames()...)
		wg.Go(func() {
			if m, err := one.Ask(ctx, nsidQuery()); err == nil {
				id.nsidOK = true
				id.nsid, _ = m.Option(wire.OptionNSID)
			}
		})
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

// once is Memo for all targets that share the gate, as they may share servers.
func (r *Run) once(key string, f func() any) any {
	if r.Options == nil || r.Options.Gate == nil {
		return r.Memo(key, f)
	}
	v, _ := r.Options.Gate.known.LoadOrStore(key, sync.OnceValue(f))
	return v.(func() any)()
}

// marksOf returns the marks of a server's behaviour, which is asked once for all checks.
// Over UDP nobody may answer.
func marksOf(ctx context.Context, r *Run) []string {
	return r.once("behaviour "+r.Server.Addr.String(), func() any { return behaviour(ctx, r) }).([]string)
}

// softwareOf tells what a server is: by what it says, confirmed by how it behaves, or
// by that alone.
func softwareOf(ctx context.Context, r *Run) Software {
	if r.Shared == nil {
		r.Shared = new(sync.Map) // before both look for it
	}
	var marks []string
	var wg sync.WaitGroup
	wg.Go(func() { marks = marksOf(ctx, r) })
	id := identityOf(ctx, r)
	wg.Wait()
	s := id.software
	if id.err != nil || silentMarks(marks) {
		return s
	}
	best, share, next := matched(marks)
	sure := certainty(share, next)
	switch {
	case sure < sureEnough:
	case s.Product == "":
		s.Product, s.Method, s.Confidence = best.product, MethodBehaviour, sure
		s.CPE = cpe(best.product, "")
	case s.Product == best.product:
		s.Confidence = sureAgreed
	case sure >= sureText-1:
		s.Confidence = sureDisagreed
	}
	return s
}

func chaosBytes(name string) []byte {
	q := chaosText(name)
	return q.Bytes()
}

func chaosText(name string) Query {
	return Query{Name: mustName(name), Type: wire.TypeTXT, Class: wire.ClassCH}
}

func nsidQuery() Query {
	return Query{Name: wire.Root, Type: wire.TypeSOA, EDNS: &EDNS{Size: ednsSize, Options: option(wire.OptionNSID, nil)}}
}

// textOf returns the strings of the first TXT record of an answer, or "".
func textOf(m *Reply) string {
	list := records(m, wire.Answer, wire.TypeTXT)
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	for d := list[0].Data; len(d) > 0 && 1+int(d[0]) <= len(d); d = d[1+int(d[0]):] {
		b.Write(d[1 : 1+int(d[0])])
	}
	return b.String()
}

// A banner is how a product writes its name and version.
type banner struct {
	product Product
	pattern string // with the version as its first group
}

// banners returns what products answer to version.bind and its like, the more special
// ones first.
func banners() []banner {
	return []banner{
		{"pdns-recursor", `(?i)powerdns recursor v?([0-9][^ ]*)`},
		{"pdns", `(?i)powerdns(?: authoritative(?: server)?)? v?([0-9][^ ]*)`},
		{"pdns", `(?i)served by powerdns`},
		{"dnsdist", `(?i)dnsdist[ -]v?([0-9][^ ]*)`},
		{"nsd", `^NSD ([0-9][^ ]*)`},
		{"unbound", `(?i)^unbound ([0-9][^ ]*)`},
		{"knot-resolver", `(?i)knot resolver v?([0-9][^ ]*)`},
		{"knot", `(?i)^knot dns v?([0-9][^ ]*)`},
		{"dnsmasq", `(?i)dnsmasq-(?:pi-hole-)?v?([0-9][^ ]*)`},
		{"coredns", `(?i)coredns-v?([0-9][^ ]*)`},
		{"technitium", `(?i)technitium(?: dns server)? v?([0-9][^ ]*)`},
		{"msdns", `(?i)microsoft dns v?([0-9][^ ]*)`},
		{"gdnsd", `(?i)^gdnsd(?: ([0-9][^ ]*))?`},
		{"port53", `(?i)^port53(?: v?([0-9][^ ]*))?`},
		{"bind", `(?i)^(?:isc )?bind v?(9\.[0-9]+\.[^ ]*)`},
		{"bind", `^(9\.[0-9]+\.[0-9]+[^ ]*)`},
	}
}

// bannerSoftware reads a text that a server tells of itself. Without a Product it is
// none that is known.
func bannerSoftware(text string) Software {
	for _, b := range banners() {
		if m := regexp.MustCompile(b.pattern).FindStringSubmatch(text); m != nil {
			version := ""
			if len(m) > 1 {
				version = strings.TrimRight(clean(m[1]), "),;")
			}
			return Software{Product: b.product, Version: version, CPE: cpe(b.product, version), Banner: clean(text)}
		}
	}
	return Software{}
}

// cpe returns the name of a product and version in the Common Platform Enumeration, as
// the tools that look up vulnerabilities have it, or "" where it has none.
func cpe(p Product, version string) string {
	vendor := map[Product]string{
		"bind": "isc:bind", "nsd": "nlnetlabs:nsd", "unbound": "nlnetlabs:unbound", "knot": "nic:knot_dns", "knot-resolver": "nic:knot_resolver",
		"pdns": "powerdns:authoritative", "pdns-recursor": "powerdns:recursor", "dnsdist": "powerdns:dnsdist", "dnsmasq": "thekelleys:dnsmasq",
		"coredns": "coredns.io:coredns", "msdns": "microsoft:dns", "technitium": "technitium:dns_server", "gdnsd": "gdnsd:gdnsd",
	}[p]
	if vendor == "" {
		return ""
	}
	// The packager's part is no part of the version.
	plain := regexp.MustCompile(`^[0-9]+(?:\.[0-9]+)*(?:-?(?:P|S|rc|beta|alpha)[0-9]+)?`).FindString(version)
	if plain == "" {
		return "cpe:/a:" + vendor
	}
	return "cpe:/a:" + vendor + ":" + strings.ToLower(plain)
}
