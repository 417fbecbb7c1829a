package zones

import (
	"fmt"
	"net/netip"
	"slices"

	"port53/internal/policy"
	"port53/internal/store"
	"port53/internal/transfer"
	"port53/internal/tsig"
	"port53/internal/wire"
	"port53/internal/zone"
)

// A Source is one zone as it is configured: where it comes from, with whom it is exchanged
// and who may change it. It is not modified once it was given to a Manager.
//
// In one piece: it is one zone of a configuration, a field for each thing that can be said
// of it.
type Source struct {
	Apex []byte // in wire form

	// Views are the names of the views that see the zone; none: the default one alone. Qualifier is what
	// tells it from other zones of its name, on disk too: the name of one of them, of at most
	// 64 letters in lower case, digits and dashes. Empty: it is the one that needs no other name.
	Views     []string
	Qualifier string

	// Origin is where versions come from. Nil: as the fields below say, from File, from
	// Primaries, or made here as a catalog.
	Origin Origin

	// Signer signs versions before they are served; nil: they are served as they come.
	Signer Signer

	File string // the zone file's path

	// Limits of the file, or of a transfer; zero values mean the defaults of packages
	// zonefile and transfer.
	Generate   int   // records that $GENERATE may make in all; 0: refused
	MaxRecords int   // records of the zone
	MaxSize    int64 // bytes of the file and all that it includes

	Primaries   []netip.AddrPort // the zone is fetched from; it has no file then
	Secondaries []netip.AddrPort // are sent NOTIFY, and may transfer the zone
	Notify      []netip.AddrPort // are sent NOTIFY as well
	Transfer    []netip.Prefix   // may transfer the zone as well
	Query       []netip.Prefix   // may ask for names in the zone, with its peers; none: whoever may ask the server
	AllowNotify []netip.Prefix   // may announce versions of a secondary zone, beside its primaries
	Key         *tsig.Key        // that transfers are signed with; nil: see Insecure
	AlsoKeys    [][]byte         // names of more keys, in lower case, that those may sign with who are sent the zone

	// Keys are of servers that have one of their own, which counts instead of Key and AlsoKeys:
	// what goes to them is signed with it, and they are known by it and their address.
	Keys map[netip.AddrPort]*tsig.Key

	// TLS are servers that are spoken with over TLS alone. Those without a key of their own may
	// have the zone by their certificate.
	TLS map[netip.AddrPort]*transfer.TLS

	TransferBy    []policy.Rule  // may transfer the zone as well, as each says
	TransferKeys  [][]byte       // names of keys whose holders may transfer the zone, from wherever
	TransferAlone []netip.Prefix // may transfer the zone without a signature
	Insecure      bool           // transfers need no signature, if there is no Key
	Updates       []policy.Grant // who may change the zone by messages
	Changes       bool           // others may change it as well: by [Manager.Edit]
	NotifyBy      []policy.Rule  // may announce versions of a secondary zone as well, as each says
	Stored        bool           // the zone has no file: its versions are in the store alone
	Forward       bool           // updates of a secondary zone go to its primaries
	Policy        bool           // it is a response policy zone: nobody is answered from it

	Order wire.Order // in which the records of a set are sent

	Next func(serial uint32) uint32 // the serial that follows when an update changes the zone; nil: one more

	Place string // where the configuration has the zone, for people
	Added bool   // a command has added it to the running server

	Consumes *Template // the zone is a catalog (RFC 9432): its members are served as this says
	Produces bool      // the zone is a catalog that is made here: it has no file
	Listed   []Listed  // its members
	Group    string    // of the zone in the catalog that named it
	Catalog  []byte    // the catalog that named the zone; nil: the configuration did
	Member   string    // the unique label that it has there
}

// A Listed is a zone that a catalog made here names.
type Listed struct {
	Apex  []byte
	Group string // at most 255 octets; empty: none
}

// origin returns where the zone comes from.
func (s *Source) origin() Origin {
	switch {
	case s.Origin != nil:
		return s.Origin
	case len(s.Primaries) > 0:
		return &primaries{apex: wire.Lower(nil, s.Apex), addrs: s.Primaries, keys: s.signers(), records: s.MaxRecords, octets: s.MaxSize}
	case s.Stored:
		return stored{}
	case s.Produces:
		return &catalogOrigin{apex: s.Apex, listed: s.Listed}
	}
	return s.file()
}

func (s *Source) file() *file {
	return &file{apex: s.Apex, path: s.File, generate: s.Generate, records: s.MaxRecords, size: s.MaxSize, policy: s.Policy}
}

// changes reports whether the zone is changed by other ways than its origin: what is acknowledged of
// that is in the store.
func (s *Source) changes() bool { return len(s.Updates) > 0 || s.Changes || s.Stored }

// access returns who may do what with the zone.
func (s *Source) access() *policy.Access {
	a := &policy.Access{Updates: s.Updates, Forward: s.Forward && len(s.Primaries) > 0}
	if len(s.Query) > 0 {
		// The configuration has no prefix that is not valid: nobody asks if one is.
		peers := slices.Concat(hosts(s.Primaries), hosts(s.Secondaries))
		if a.Query, _ = policy.NewACL(policy.ACLOptions{Allow: slices.Concat(s.Query, peers)}); a.Query == nil {
			a.Query = &policy.ACL{}
		}
	}
	shared, keyed := s.parted(s.Secondaries)
	listed := slices.Concat(hosts(shared), s.Transfer)
	tell := policy.Rule{Networks: slices.Concat(hosts(s.Primaries), s.AllowNotify), Unsigned: true}
	switch {
	case s.Key != nil:
		tell.Key = s.Key.Name
		a.Transfer = []policy.Rule{{Networks: listed, Key: s.Key.Name}}
		for _, name := range s.AlsoKeys {
			a.Transfer = append(a.Transfer, policy.Rule{Networks: listed, Key: name})
		}
	case s.Insecure:
		a.Transfer = []policy.Rule{{Networks: listed, Unsigned: true}}
	}
	a.Transfer = slices.Concat(a.Transfer, keyed, s.TransferBy)
	for _, name := range s.TransferKeys {
		a.Transfer = append(a.Transfer, policy.Rule{Networks: anywhere, Key: name})
	}
	if len(s.TransferAlone) > 0 {
		a.Transfer = append(a.Transfer, policy.Rule{Networks: s.TransferAlone, Unsigned: true})
	}
	if len(s.Primaries) > 0 {
		// NOTIFY is taken unsigned even from the primaries of a zone with a key, since many
		// do not sign it: it only leads to a question that is signed.
		a.Notify = append([]policy.Rule{tell}, s.NotifyBy...)
		for _, name := range s.AlsoKeys {
			a.Notify = append(a.Notify, policy.Rule{Networks: tell.Networks, Key: name})
		}
		for addr, key := range s.Keys {
			if host := hosts([]netip.AddrPort{addr}); slices.Contains(tell.Networks, host[0]) {
				a.Notify = append(a.Notify, policy.Rule{Networks: host, Key: key.Name})
			}
		}
	}
	return a
}

// parted returns which of servers are known by the keys of the zone, and a rule for each that
// has a key of its own.
func (s *Source) parted(servers []netip.AddrPort) (shared []netip.AddrPort, keyed []policy.Rule) {
	for _, a := range servers {
		if key := s.Keys[a]; key != nil {
			keyed = append(keyed, policy.Rule{Networks: hosts([]netip.AddrPort{a}), Key: key.Name})
		} else if sealed := s.TLS[a]; sealed != nil {
			keyed = append(keyed, policy.Rule{Networks: hosts([]netip.AddrPort{a}), Client: sealed.Peer})
		} else {
			shared = append(shared, a)
		}
	}
	return shared, keyed
}

// signers are the keys that messages to other servers about one zone are signed with.
type signers struct {
	own    map[netip.AddrPort]*tsig.Key // of servers that have one of their own
	shared *tsig.Key                    // with all others; nil: they are not signed
	sealed map[netip.AddrPort]*transfer.TLS
}

func (s *Source) signers() signers { return signers{s.Keys, s.Key, s.TLS} }

// to returns a server, as messages go to it.
func (s *signers) to(a netip.AddrPort) transfer.Primary {
	return transfer.Primary{Addr: a, Key: s.of(a), TLS: s.sealed[a]}
}

// of returns the key for messages to a server, or nil.
func (s *signers) of(a netip.AddrPort) *tsig.Key {
	if key := s.own[a]; key != nil {
		return key
	}
	return s.shared
}

// anywhere is the networks of a peer that is known by its key alone.
var anywhere = []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// hosts returns each address as a network of its own.
func hosts(addrs []netip.AddrPort) []netip.Prefix {
	list := make([]netip.Prefix, 0, len(addrs))
	for _, a := range addrs {
		host := a.Addr().Unmap().WithZone("")
		list = append(list, netip.PrefixFrom(host, host.BitLen()))
	}
	return list
}

// shared reports whether others have the zone from here.
func (s *Source) shared() bool {
	return len(s.Secondaries)+len(s.Transfer)+len(s.Notify)+len(s.TransferKeys)+len(s.TransferAlone)+len(s.TransferBy) > 0
}

// followers returns who is sent NOTIFY.
func (s *Source) followers() []netip.AddrPort {
	list := slices.Concat(s.Secondaries, s.Notify)
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

func (s *Source) name() string { return string(wire.AppendName(nil, s.Apex)) }

// views returns the names of the views that see the zone.
func (s *Source) views() []string {
	if len(s.Views) == 0 {
		return defaultViews
	}
	return s.Views
}

// defaultViews is the view of zones for which none is named.
var defaultViews = []string{zone.DefaultView}

// key returns what stands for the zone among all.
func (s *Source) key() string { return string(store.Key(s.Apex, s.Qualifier)) }

// A Problem is something wrong with a zone.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"column,omitempty"`
	Warning bool   `json:"warning,omitempty"`
	Text    string `json:"text"`

	// Signature is that of [zone.Problem]: who verifies the zone as it was written refuses it.
	Signature bool `json:"-"`
}

// String returns the problem as file:line:column: text.
func (p Problem) String() string {
	place := p.File
	if p.Line > 0 {
		place = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
	}
	if p.Warning {
		return place + ": warning: " + p.Text
	}
	return place + ": " + p.Text
}
