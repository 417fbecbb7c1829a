package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"port53/internal/config"
	"port53/internal/pkcs11"
	"port53/internal/signer"
	"port53/internal/store"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// KeysDir is the directory of DNSSEC keys in the state directory, one for each zone in it.
const KeysDir = "keys"

// A zoneSigner signs one zone as its policy says.
type zoneSigner struct {
	stage signer.Stage
	key   []byte // of the zone among all
	watch watching

	home    string // the view that tells it from others of its name
	signal  bool   // its CDS records are copied into the zones of its servers
	signals *signals
	copied  bool // it had copies of other zones' records when it was signed last
}

// A signingRoom is what the signers of all zones share.
type signingRoom struct {
	online  *signer.Online // what is signed while queries wait
	tokens  *pkcs11.Stores
	signals *signals
}

// stores returns the tokens, or nil.
func (r signingRoom) stores() signer.KeyStores {
	if r.tokens == nil {
		return nil
	}
	return r.tokens
}

// KeyStores returns the tokens that a configuration names, or nil if it names none.
func KeyStores(c *config.Config) *pkcs11.Stores {
	if len(c.KeyStores) == 0 {
		return nil
	}
	list := make([]pkcs11.Options, len(c.KeyStores))
	for i := range c.KeyStores {
		k := &c.KeyStores[i]
		uri, _ := pkcs11.ParseToken(k.URI) // which was checked
		list[i] = pkcs11.Options{Name: k.Name, URI: uri, Module: k.Module, PINFile: k.PINFile}
	}
	return pkcs11.New(list)
}

// openTokens loads the modules of key stores, which needs more of the system than signing does. A token
// that cannot be used now may be later.
func (a *App) openTokens() {
	if a.signing.tokens == nil {
		return
	}
	for _, problem := range a.signing.tokens.Open() {
		a.log.Error("a key store cannot be used: it is tried again when a zone is signed", "error", problem.Error())
	}
}

// newZoneSigner returns the signer of z, which is to be signed. A zone that is to be signed no more,
// and whose keys the parent may point at, goes unsigned first as the policy insecure has it.
func newZoneSigner(c *config.Config, z *config.Zone, room signingRoom) *zoneSigner {
	name := z.DNSSEC.Policy
	if !z.DNSSEC.Signs() {
		name = config.InsecurePolicy
	}
	p := c.DNSSECPolicy(name)
	algorithm, _ := wire.ParseAlgorithm(p.Algorithm)
	apex := wire.Lower(nil, z.Name)
	policy := signer.StagePolicy{
		Algorithm: algorithm, Split: p.Keys == "split", Digest: p.ZONEMD,
		Valid: p.Signatures.Valid, Refresh: p.Signatures.Refresh, Before: p.Signatures.Before,
		KeyTTL:   uint32(p.DNSKEYTTL / time.Second),
		KSKStore: p.Stores.KSK, ZSKStore: p.Stores.ZSK,
		Lifecycle: signer.LifecyclePolicy{
			KSKLifetime: p.KSKLifetime, ZSKLifetime: p.ZSKLifetime, Propagation: p.Propagation, ParentPropagation: p.Parent.Propagation,
			DSTTL: p.Parent.DSTTL, Insecure: p.Name == config.InsecurePolicy, Purge: p.Purge,
		},
	}
	switch p.Denial {
	case "nsec3":
		policy.Denial = signer.NSEC3
	case "nsec3-opt-out":
		policy.Denial = signer.NSEC3OptOut
	case "compact":
		policy.Denial = signer.Compact
	}
	switch p.Publish.CDS {
	case "never":
		policy.Lifecycle.CDS = signer.CDSNever
	case "always":
		policy.Lifecycle.CDS = signer.CDSAlways
	}
	return &zoneSigner{
		signer.Stage{
			Zone: apex, Dir: KeysOf(c, apex, z.Qualifier()), From: z.DNSSEC.KeysFrom, Policy: policy, Online: room.online,
			Tokens: room.stores(),
		},
		store.Key(apex, z.Qualifier()),
		watched(c, z, p),
		z.Qualifier(),
		p.Publish.Signal,
		room.signals,
		false,
	}
}

// signed reports whether a zone of c is signed here: it is to be, or the parent may point at keys
// that it was signed with until now.
func signed(c *config.Config, z *config.Zone) bool {
	if z.DNSSEC.Signs() || z.Catalog == "consume" || z.Catalog == "produce" {
		return z.DNSSEC.Signs()
	}
	dir := KeysOf(c, wire.Lower(nil, z.Name), z.Qualifier())
	if _, err := os.Stat(dir); err != nil {
		return false
	}
	s := signer.Stage{Zone: wire.Lower(nil, z.Name), Dir: dir}
	return s.Trusted()
}

// KeysOf returns the directory of the DNSSEC keys of a zone that a server of c signs; of is the view
// that tells it from others of its name, or empty. A zone that was signed before there were views keeps
// its keys, for its parent has their DS records: of several that could, the first.
func KeysOf(c *config.Config, apex []byte, of string) string {
	plain := filepath.Join(c.StateDir, KeysDir, signer.DirName(apex))
	own := func(of string) string { return plain + "@" + of }
	there := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	if of == "" {
		return plain
	}
	if there(own(of)) || !there(plain) {
		return own(of)
	}
	for i := range c.Zones {
		switch z := &c.Zones[i]; {
		case !z.DNSSEC.Signs() || !wire.EqualFold(z.Name, apex):
		case z.Qualifier() == of:
			return plain
		case z.Qualifier() == "" || !there(own(z.Qualifier())):
			return own(of) // the other has them
		}
	}
	return own(of)
}

// Sign implements [zones.Signer].
func (s *zoneSigner) Sign(ctx context.Context, seed wire.Seed, have, plain *zone.Zone, changes []*zone.Delta) (*zones.Signed, error) {
	whole := s.signaled(seed, have, plain)
	if copies := whole != plain; copies || s.copied {
		changes, s.copied = nil, copies // what has changed of the copies is not in them
	}
	v, err := s.stage.SignChanges(ctx, seed, have, whole, changes, time.Now())
	if errors.Is(err, signer.ErrSigned) {
		return &zones.Signed{
			Zone:     plain,
			Problems: []zones.Problem{{Warning: true, Text: "the zone is already signed and is served unchanged: dnssec has no effect"}},
		}, nil
	}
	if err != nil {
		return nil, unfit(err)
	}
	s.tell(v)
	return &zones.Signed{
		Zone:    v.Zone,
		Deltas:  v.Deltas,
		Resign:  v.Resign,
		Keys:    v.Keys,
		Made:    v.Made,
		Alerts:  v.Alerts,
		Expires: v.Signed.Expires,
	}, nil
}

// unfit tells apart the errors of a signer that the records of the zone are to blame for.
func unfit(err error) error {
	if errors.Is(err, signer.ErrContent) {
		return &zones.Unfit{Err: err}
	}
	return err
}

// Try implements [zones.Signer].
func (s *zoneSigner) Try(ctx context.Context, seed wire.Seed, have, plain *zone.Zone) error {
	return s.stage.Try(ctx, seed, have, plain, time.Now())
}

// Same implements [zones.Signer].
func (s *zoneSigner) Same(other zones.Signer) bool {
	o, ok := other.(*zoneSigner)
	return ok && o.stage.Policy == s.stage.Policy && o.stage.Dir == s.stage.Dir && o.stage.From == s.stage.From && o.signal == s.signal
}
