package app

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"port53/internal/config"
	"port53/internal/policy"
	"port53/internal/wire"
)

// everywhere is all addresses.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// contractOf returns what the contract lets peers do with zones, whatever those say; nil: it says nothing
// of it.
func contractOf(c *config.Config) *policy.Contract {
	if !c.Expose.Any() {
		return nil
	}
	return &policy.Contract{Transfer: boundOf(c, "transfer"), Notify: boundOf(c, "notify"), Update: boundOf(c, "update")}
}

func boundOf(c *config.Config, key string) *policy.Rules {
	networks, keys, remotes, said := c.Expose.Peers(key)
	if !said {
		return nil
	}
	certificates := c.Expose.Certificates(key)
	b := policy.Rules{}
	if len(networks) > 0 {
		b = append(b, policy.Rule{Networks: networks, Unsigned: true})
	}
	for _, k := range keys {
		b = append(b, policy.Rule{Networks: everywhere, Key: wire.Lower(nil, k)})
	}
	for _, name := range certificates {
		b = append(b, policy.Rule{Networks: everywhere, Holder: name})
	}
	for _, name := range remotes {
		r := c.Remote(name)
		switch {
		case r == nil:
		case len(r.TSIG) > 1:
			b = append(b, policy.Rule{Networks: peersOf(r.Addresses), Key: wire.Lower(nil, r.TSIG)})
		default: // what else is asked of it, a certificate or the key of the zone, is the zone's to ask
			b = append(b, policy.Rule{Networks: peersOf(r.Addresses), Unsigned: true})
		}
	}
	return &b
}

// A Term is a line of the contract of who may do what at a server: that of expose, and what the rest of
// the configuration comes to where it says nothing.
type Term struct {
	May  string `json:"may"`            // ask, recurse, transfer, update, notify, control or scrape
	Who  string `json:"who"`            // in words
	From string `json:"from,omitempty"` // where expose says so; empty: other keys do
}

// String returns the line as it is printed.
func (t *Term) String() string {
	from := ""
	if t.From != "" {
		from = " (expose, " + t.From + ")"
	}
	return fmt.Sprintf("%-8s %s%s", t.May, t.Who, from)
}

// Terms returns the contract of a configuration in words, with networks of interfaces as they are now.
func Terms(c *config.Config) ([]Term, error) {
	n, err := networksOf(c)
	if err != nil {
		return nil, err
	}
	list := []Term{
		{May: "ask", Who: whoAsks(c, n)},
		{May: "recurse", Who: whoRecurses(c, n)},
		{May: "transfer", Who: whoDeals(c, "transfer", transferTerms)},
		{May: "update", Who: whoDeals(c, "update", updateTerms)},
		{May: "notify", Who: whoDeals(c, "notify", notifyTerms)},
		{May: "control", Who: whoControls(c)},
		{May: "scrape", Who: whoScrapes(c)},
	}
	for i := range list {
		if at, said := c.Expose.PlaceOf(list[i].May); said {
			list[i].From = at.String()
		}
	}
	return list, nil
}

// inWords lists networks as a sentence does.
func inWords(list []netip.Prefix) string {
	switch {
	case len(list) == 0:
		return "nobody"
	case slices.Contains(list, everywhere[0]) && slices.Contains(list, everywhere[1]):
		return "everybody"
	}
	words := make([]string, 0, len(list))
	for _, n := range list {
		words = append(words, networkText(n))
	}
	return listed(words)
}

// networkText is a network as people write it.
func networkText(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

// maxListed is how many of a list are told.
const maxListed = 8

func listed(words []string) string {
	if len(words) == 0 {
		return "nobody"
	}
	slices.Sort(words)
	words = slices.Compact(words)
	if more := len(words) - maxListed; more > 1 {
		words = append(words[:maxListed:maxListed], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(words, ", ")
}

func whoAsks(c *config.Config, n networks) string {
	list := n.asked
	if len(list) == 0 && c.Internal() {
		list = n.clients
	}
	who := inWords(list)
	switch peers := transferPeers(c); {
	case c.DeniesQueries() && len(peers) > 0:
		who = "only the servers that zones are exchanged with: " + inWords(peers)
	case c.DeniesQueries():
		who = "nobody"
	case len(list) == 0:
		who = "everybody"
	case len(peers) > 0:
		who += ", and the servers that zones are exchanged with"
	}
	if len(c.Policy.Deny) > 0 {
		who += ", but not " + inWords(c.Policy.Deny)
	}
	return who + beyondDefault(c)
}

// beyondDefault says that views have rules of their own.
func beyondDefault(c *config.Config) string {
	if len(c.Views) == 0 {
		return ""
	}
	return fmt.Sprintf("; %d views have rules of their own (config check --client)", len(c.Views))
}

func whoRecurses(c *config.Config, n networks) string {
	switch {
	case !c.Recurses():
		return "nobody"
	case len(n.clients) == 0:
		return "every client that may query" + beyondDefault(c)
	}
	return inWords(n.clients) + beyondDefault(c)
}

// whoDeals says who may do something with zones: the contract, or what all zones together let.
func whoDeals(c *config.Config, key string, zones func(c *config.Config, z *config.Zone) []string) string {
	if networks, keys, remotes, said := c.Expose.Peers(key); said {
		var words []string
		if len(networks) > 0 {
			words = append(words, inWords(networks))
		}
		for _, k := range keys {
			words = append(words, "key "+keyName(k))
		}
		for _, name := range c.Expose.Certificates(key) {
			words = append(words, "certificate "+name)
		}
		for _, r := range remotes {
			words = append(words, "remote "+r)
		}
		return listed(words)
	}
	var words []string
	for i := range c.Zones {
		words = append(words, zones(c, &c.Zones[i])...)
	}
	return listed(append(words, grantTerms(c, key)...))
}

// grantTerms says which keys and certificates may do something by their grants.
func grantTerms(c *config.Config, key string) (words []string) {
	verb := map[string]string{"transfer": "read", "update": "change", "notify": "notify"}[key]
	note := func(who string, rights []config.Right) {
		for _, g := range rights {
			if slices.Contains(g.Verbs, verb) && (verb != "read" || slices.Contains(g.Names, "*")) {
				words = append(words, who)
			}
		}
	}
	for i := range c.Keys {
		note("key "+keyName(c.Keys[i].Name), c.Keys[i].Grants)
	}
	for i := range c.ClientCertificates {
		note("certificate "+c.ClientCertificates[i].Name, c.ClientCertificates[i].Grants)
	}
	return words
}

// signs says by which signatures a zone's peers are known.
func signs(z *config.Zone, own []byte) string {
	switch {
	case own != nil:
		return " with key " + keyName(own)
	case len(z.TSIG) > 0:
		return " with key " + keyName(z.TSIG[0])
	}
	return " unsigned"
}

func transferTerms(c *config.Config, z *config.Zone) (words []string) {
	for _, s := range z.Secondaries {
		if c.TLSRemote(s) != nil && z.KeyOf(s) == nil {
			words = append(words, s.Addr().String()+" by its certificate")
			continue
		}
		words = append(words, s.Addr().String()+signs(z, z.KeyOf(s)))
	}
	for _, n := range z.AllowTransfer {
		words = append(words, networkText(n)+signs(z, nil))
	}
	for _, n := range z.TransferAlone {
		words = append(words, networkText(n)+" unsigned")
	}
	for _, k := range z.TransferKeys {
		words = append(words, "key "+keyName(k))
	}
	for _, name := range z.TransferRemotes {
		words = append(words, "remote "+name)
	}
	return words
}

func updateTerms(_ *config.Config, z *config.Zone) (words []string) {
	for _, g := range z.Updates {
		words = append(words, "key "+keyName(g.Key))
	}
	if z.Forward {
		words = append(words, "those whom the primaries of "+wire.NameText(z.Name)+" allow")
	}
	return words
}

func notifyTerms(_ *config.Config, z *config.Zone) (words []string) {
	if len(z.Primaries) == 0 {
		return nil
	}
	for _, p := range z.Primaries {
		words = append(words, p.Addr().String())
	}
	for _, n := range z.AllowNotify {
		words = append(words, networkText(n))
	}
	return words
}

func whoControls(c *config.Config) string {
	var words []string
	if c.Control.Socket != "" {
		words = append(words, "the owner of "+c.Control.Socket+", its group and root")
	}
	if c.API.Listen.IsValid() {
		from := "anyone who can reach it"
		if _, said := c.Expose.PlaceOf("control"); said {
			from = inWords(c.Expose.Control)
		} else if c.API.Listen.Addr().IsLoopback() {
			from = "this machine"
		}
		with := "a token"
		if c.API.Certificate != "" && len(c.ClientCertificates) > 0 {
			with += " or a client certificate that has grants"
		}
		words = append(words, "anyone with "+with+", from "+from+", at "+c.API.Listen.String())
	}
	return listed(words)
}

func whoScrapes(c *config.Config) string {
	if !c.Metrics.Listen.IsValid() {
		return "nobody"
	}
	from := "anyone who can reach it"
	if _, said := c.Expose.PlaceOf("scrape"); said {
		from = inWords(c.Expose.Scrape)
	} else if c.Metrics.Listen.Addr().IsLoopback() {
		from = "this machine"
	}
	return from + ", at " + c.Metrics.Listen.String()
}

// A door is a listener that only those get through whom the contract lets, as it is when they come.
type door struct {
	net.Listener
	who func() (list []netip.Prefix, said bool)
}

// Accept implements [net.Listener]. Whoever may not is cut off before anything is read.
func (d door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		list, said := d.who()
		if !said || within(list, c.RemoteAddr()) {
			return c, nil
		}
		c.Close()
	}
}

func within(list []netip.Prefix, a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return false
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(list, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// guarded has a listener keep to a key of the contract of the generation that serves.
func (a *App) guarded(l net.Listener, key string) net.Listener {
	return door{l, func() ([]netip.Prefix, bool) {
		g := a.current.Load()
		if g == nil {
			return nil, true // nobody before there is a contract
		}
		_, said := g.config.Expose.PlaceOf(key)
		if key == "control" {
			return g.config.Expose.Control, said
		}
		return g.config.Expose.Scrape, said
	}}
}
