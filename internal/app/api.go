package app

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"port53/internal/api"
	"port53/internal/certs"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/dnssec"
	"port53/internal/grant"
	"port53/internal/server"
	"port53/internal/signer"
	"port53/internal/store"
	"port53/internal/telemetry"
	"port53/internal/tsig"
	"port53/internal/wire"
)

// An apiHost is the server, as the API knows it.
type apiHost struct{ *App }

// listenAPI binds the address of the API.
func (a *App) listenAPI(c *config.Config) (err error) {
	if !c.API.Listen.IsValid() {
		return nil
	}
	if pairs := c.API.Pairs(); len(pairs) > 0 {
		if a.sealing, err = certs.NewManager(pairs); err != nil {
			return fmt.Errorf("api: %w", err)
		}
	}
	if a.api, err = server.ListenTCP(c.API.Listen); err != nil {
		return fmt.Errorf("api: %w; to disable it, set api: {listen: off}", err)
	}
	a.api = a.guarded(a.api, "control")
	return nil
}

// serveAPI answers requests of the API until ctx ends.
func (a *App) serveAPI(ctx context.Context) {
	var sealed *tls.Config
	if a.sealing != nil {
		sealed = a.sealing.Server(a.knowsCertificates, certs.H1)
		go a.followFiles(ctx, a.sealing, "the API")
	}
	if err := a.own.Serve(ctx, a.api, sealed); err != nil {
		a.log.Error("the API ended", "error", err.Error())
	}
}

// Own implements [console.Admin].
func (a *App) Own(w http.ResponseWriter, r *http.Request, by console.Caller) {
	a.own.ServeLocal(w, r, by.String())
}

// API returns the address of the API, or nil.
func (a *App) API() net.Addr {
	if a.api == nil {
		return nil
	}
	return a.api.Addr()
}

// Holder implements [api.Host].
func (h apiHost) Holder(token string) *grant.Holder { return h.current.Load().holders.Token(token) }

// CertificateHolder implements [api.Host].
func (h apiHost) CertificateHolder(chain []*x509.Certificate) *grant.Holder {
	return h.current.Load().holders.Certificate(chain, time.Now())
}

// addedZone returns a zone of the API as the file of added zones has it.
func (h apiHost) addedZone(z *api.ZoneSpec) config.AddedZone {
	name := wire.NameText(z.Apex)
	if name != "." {
		name = strings.TrimSuffix(name, ".")
	}
	added := config.AddedZone{Name: name, Stored: len(z.Primaries) == 0, Sign: z.Signed}
	for _, p := range z.Primaries {
		added.Primaries = append(added.Primaries, p.String())
	}
	switch {
	case added.Stored:
	case z.TSIG != "":
		added.TSIG = []string{z.TSIG}
	default:
		added.Insecure = true
	}
	return added
}

// MakeZone implements [api.Host]: the first version is in the store before the zone is added.
func (h apiHost) MakeZone(by string, z *api.ZoneSpec) error {
	apex := wire.Lower(nil, z.Apex)
	h.reloading.Lock()
	defer h.reloading.Unlock()
	if _, there := h.manager.Snapshot(apex); there {
		return api.ErrExists
	}
	added := h.addedZone(z)
	e, err := h.adding(&added)
	if err != nil {
		return err
	}
	if err := h.ownState(); err != nil {
		return err
	}
	if added.Stored {
		first, problems := h.manager.Build(z.Apex, z.First)
		if first == nil {
			for _, p := range problems {
				if !p.Warning {
					return fmt.Errorf("the zone could not be served: %s", p.Text)
				}
			}
			return errors.New("the zone could not be served")
		}
		if err := h.state.Save(apex, first); err != nil {
			return err
		}
	}
	if err := h.change(e); err != nil {
		if added.Stored {
			err = errors.Join(err, h.state.Remove(apex))
		}
		return err
	}
	h.did(by, apex, "zone added by the API")
	return nil
}

// addedAt returns the configuration with what the file of added zones has, its text, and where a zone
// is in it.
func (h apiHost) addedAt(apex []byte, of string) (now *config.Config, text []byte, i int, err error) {
	if now, text, err = h.addedNow(); err != nil {
		return nil, nil, 0, err
	}
	i, err = h.findAdded(now, wire.NameText(apex), of, apex)
	return now, text, i, err
}

// ChangeZone implements [api.Host].
func (h apiHost) ChangeZone(by string, z *api.ZoneSpec) error {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	now, text, i, err := h.addedAt(wire.Lower(nil, z.Apex), z.Qualifier)
	if err != nil {
		return err
	}
	rest, err := now.WithoutZone(text, i)
	if err != nil {
		return err
	}
	added := h.addedZone(z)
	keepRest(&added, &now.Zones[i], z.Keyed)
	next := config.AppendZone(rest, &added)
	c, err := now.WithZones(h.added.file(), next)
	if err != nil {
		return withoutPlaces(err)
	}
	if err := h.change(setChange{c, text, next, h.adoptAll}); err != nil {
		return err
	}
	h.did(by, wire.Lower(nil, z.Apex), "zone changed by the API")
	return nil
}

// keepRest gives a zone that is changed what it had and the request does not speak of. Without keyed that
// is the key of its transfers, too: nobody makes them insecure by the way.
func keepRest(z *config.AddedZone, had *config.Zone, keyed bool) {
	z.Views = had.Views
	if had.File != "" {
		z.Stored, z.File = false, had.File // which zone add has named
	}
	if had.Template != "" {
		z.Template = &had.Template
	}
	for _, s := range had.Secondaries {
		z.Secondaries = append(z.Secondaries, s.String())
	}
	if keyed || len(z.Primaries)+len(z.Secondaries) == 0 {
		return
	}
	z.TSIG = nil
	for _, name := range had.TSIG {
		z.TSIG = append(z.TSIG, keyName(name))
	}
	z.Insecure = len(z.TSIG) == 0 && (z.Insecure || had.Insecure)
}

// DropZone implements [api.Host].
func (h apiHost) DropZone(by string, key []byte) error {
	apex := store.Apex(key)
	name := wire.NameText(apex)
	this := func(c *config.Config) (int, error) { return h.addedOf(c, name, key) }
	if _, err := h.removeZone(name, apex, true, this); err != nil {
		return err
	}
	h.did(by, apex, "zone removed by the API")
	return h.state.signed.Remove(key)
}

// TSIGKeys implements [api.Host].
func (h apiHost) TSIGKeys() []api.TSIGKey {
	c := h.current.Load().config
	list := make([]api.TSIGKey, 0, len(c.Keys))
	g, err := h.added.granted()
	for i := range c.Keys {
		k := api.TSIGKey{Name: keyName(c.Keys[i].Name), Algorithm: c.Keys[i].Algorithm}
		if !c.KeyGranted(i) {
			k.Place = c.FileOf("keys.name", i)
		} else if err == nil {
			for _, granted := range g.Keys {
				if granted.Name == k.Name {
					k.Secret = granted.Secret
				}
			}
		}
		list = append(list, k)
	}
	return list
}

// SetTSIGKey implements [api.Host].
func (h apiHost) SetTSIGKey(by, old string, k api.TSIGKey) (api.TSIGKey, error) {
	if _, ok := tsig.ParseAlgorithm(k.Algorithm); !ok {
		return k, api.ErrAlgorithm
	}
	made := Credential{Name: k.Name, Algorithm: k.Algorithm}
	secret, err := newSecret(&made)
	if err != nil {
		return k, err
	}
	if k.Name = made.Name; k.Secret == "" {
		k.Secret = secret
	}
	taken := slices.ContainsFunc(h.TSIGKeys(), func(o api.TSIGKey) bool { return o.Name == k.Name && o.Name != old })
	if taken {
		return k, api.ErrExists
	}
	err = h.changeGrants(func(g *config.Granted) error {
		next := config.GrantedKey{
			Name:      k.Name,
			Algorithm: k.Algorithm,
			Secret:    k.Secret,
			Made:      time.Now().UTC().Truncate(time.Second),
			Grants:    []config.GrantedRight{},
		}
		if old == "" {
			g.Keys = append(g.Keys, next)
			return nil
		}
		for i := range g.Keys {
			if g.Keys[i].Name == old {
				next.Made, next.Grants = g.Keys[i].Made, g.Keys[i].Grants
				g.Keys[i] = next
				return nil
			}
		}
		return api.ErrBound
	})
	if err == nil {
		h.did(by, nil, "TSIG key "+k.Name+" set by the API")
	}
	return k, err
}

// DropTSIGKey implements [api.Host].
func (h apiHost) DropTSIGKey(by, name string) error {
	err := h.changeGrants(func(g *config.Granted) error {
		before := len(g.Keys)
		if g.Keys = slices.DeleteFunc(g.Keys, func(k config.GrantedKey) bool { return k.Name == name }); len(g.Keys) == before {
			return h.notGranted(name)
		}
		return nil
	})
	if err == nil {
		h.did(by, nil, "TSIG key "+name+" removed by the API")
	}
	return err
}

// did tells the audit of what a request did beside changing records.
func (h apiHost) did(by string, zone []byte, what string) {
	h.audit.Record(&telemetry.AuditRecord{Operation: telemetry.Commanded, By: by, Zone: zone, Text: what})
}

// zoneKeys returns the DNSSEC keys of a zone, and their directory.
func (h apiHost) zoneKeys(zone []byte) (dir string, keys []*signer.Key, err error) {
	apex := store.Apex(zone)
	dir = KeysOf(h.current.Load().config, apex, string(zone[len(apex):]))
	keys, problems, err := signer.ReadKeys(dir, apex)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return dir, nil, nil
	case err == nil && len(problems) > 0:
		err = problems[0]
	}
	return dir, keys, err
}

// Keys implements [api.Host].
func (h apiHost) Keys(zone []byte) ([]api.Key, error) {
	_, keys, err := h.zoneKeys(zone)
	list := make([]api.Key, 0, len(keys))
	for _, k := range keys {
		if now := time.Now(); k.Times.Delete.IsZero() || now.Before(k.Times.Delete) {
			list = append(list, shownKey(k, keys, now))
		}
	}
	return list, err
}

// shownKey returns a key as the API tells of it.
func shownKey(k *signer.Key, all []*signer.Key, now time.Time) api.Key {
	s := api.Key{
		ID: int(
			k.Tag(),
		),
		Type:      strings.ToLower(signer.Kind(k, all, now)),
		Algorithm: wire.AlgorithmName(k.Algorithm()),
		Flags:     int(k.Flags()),
		Bits: keyBits(
			k,
		),
		Active:    k.Active(now),
		Published: k.Published(now),
		DNSKEY:    string(wire.AppendRdataText(nil, wire.TypeDNSKEY, k.DNSKEY)),
		DS:        []string{},
	}
	if k.SEP() {
		for _, digest := range []uint8{dnssec.DigestSHA256, dnssec.DigestSHA384} {
			if ds, ok := k.DS(digest); ok {
				s.DS = append(s.DS, string(wire.AppendRdataText(nil, wire.TypeDS, ds)))
			}
		}
	}
	return s
}

// keyBits returns how long a key is.
func keyBits(k *signer.Key) int {
	switch k.Algorithm() {
	case dnssec.ECDSAP384:
		return 384
	case dnssec.ECDSAP256, dnssec.ED25519:
		return 256
	}
	if k.Private != nil {
		if public, ok := k.Private.Public().(*rsa.PublicKey); ok {
			return public.N.BitLen()
		}
	}
	return 0
}

// MakeKey implements [api.Host]. A zone that is not signed yet, and that the API has made, is from then
// on.
func (h apiHost) MakeKey(by string, zone []byte, k api.Key) (api.Key, error) {
	alg, ok := wire.ParseAlgorithm(k.Algorithm)
	switch {
	case k.Private != "":
		return k, errors.New(
			"the server generates keys itself: to use an existing one, put its files into the zone's key directory (port53 zone keys)",
		)
	case !ok || !signer.CanSign(alg):
		return k, fmt.Errorf("%s: %s", "Unknown algorithm", k.Algorithm)
	}
	dir, others, err := h.zoneKeys(zone)
	if err != nil {
		return k, err
	}
	now := time.Now()
	made, err := h.newKey(zone, alg, k.Type != "zsk", now, others)
	if err != nil {
		return k, err
	}
	if !k.Active {
		made.Times.Activate = never()
	}
	if !k.Published {
		made.Times.Publish = never()
	}
	if err := h.ownState(); err != nil {
		return k, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return k, err
	}
	if err := made.Write(dir); err != nil {
		return k, err
	}
	h.did(by, store.Apex(zone), fmt.Sprintf("DNSSEC key %d created by the API", made.Tag()))
	if err := h.signAfter(by, zone, k.Active); err != nil {
		return k, errors.Join(err, os.Remove(made.File+".key"), os.Remove(made.File+".private"))
	}
	return shownKey(made, append(others, made), now), nil
}

// newKey makes a key where the zone's policy has such keys.
func (h apiHost) newKey(zone []byte, alg uint8, sep bool, now time.Time, others []*signer.Key) (*signer.Key, error) {
	c, apex := h.current.Load().config, store.Apex(zone)
	for i := range c.Zones {
		if z := &c.Zones[i]; wire.EqualFold(z.Name, apex) && z.Qualifier() == string(zone[len(apex):]) && z.DNSSEC.Signs() {
			p := c.DNSSECPolicy(z.DNSSEC.Policy)
			in := p.Stores.ZSK
			if sep {
				in = p.Stores.KSK
			}
			if in != "" {
				return signer.NewKeyIn(h.signing.stores(), in, apex, alg, sep, now, others)
			}
		}
	}
	return signer.NewKey(apex, alg, sep, now, others)
}

// never returns when keys sign that do not until they are told to.
func never() time.Time { return time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC) }

// signAfter has a zone signed by its keys as they are now; with begin also one that was not.
func (h apiHost) signAfter(by string, zone []byte, begin bool) error {
	v, ok := h.manager.Snapshot(zone)
	switch {
	case !ok:
		return api.ErrNotFound
	case v.Status.Signing != nil:
		return h.manager.Resign(zone)
	case begin:
		return h.ChangeZone(by, &api.ZoneSpec{Apex: v.Apex, Qualifier: v.Qualifier, Primaries: v.Status.Primaries, Signed: true})
	}
	return nil
}

// ChangeKey implements [api.Host].
func (h apiHost) ChangeKey(by string, zone []byte, k api.Key) error {
	return h.changeKey(by, zone, k.ID, func(key *signer.Key, now time.Time) {
		if k.Active != key.Active(now) {
			key.Times.Inactive = time.Time{}
			if key.Times.Activate = now; !k.Active {
				key.Times.Activate, key.Times.Inactive = key.Times.Created, now
			}
		}
		if k.Published != key.Published(now) {
			if key.Times.Publish = now; !k.Published {
				key.Times.Publish = never()
			}
		}
	}, k.Active)
}

// DropKey implements [api.Host]: the files stay, and say that the key is no more.
func (h apiHost) DropKey(by string, zone []byte, id int) error {
	return h.changeKey(by, zone, id, func(key *signer.Key, now time.Time) { key.Times.Inactive, key.Times.Delete = now, now }, false)
}

// changeKey changes the times of a key, unless nothing would sign the zone any more.
func (h apiHost) changeKey(by string, zone []byte, id int, change func(*signer.Key, time.Time), begin bool) error {
	_, keys, err := h.zoneKeys(zone)
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Second)
	for _, k := range keys {
		if int(k.Tag()) != id {
			continue
		}
		v, _ := h.manager.Snapshot(zone)
		change(k, now)
		if v.Status.Signing != nil && !slices.ContainsFunc(keys, func(o *signer.Key) bool { return o.Active(now) && o.Published(now) }) {
			return errors.New("no key would be left to sign the zone, which would make it bogus: create another key " +
				"first, or set dnssec to false")
		}
		if err := k.Rewrite(); err != nil {
			return err
		}
		h.did(by, store.Apex(zone), fmt.Sprintf("DNSSEC key %d changed by the API", id))
		return h.signAfter(by, zone, begin)
	}
	return api.ErrNotFound
}

// Server implements [api.Host].
func (h apiHost) Server() api.ServerStatus {
	g := h.current.Load()
	return api.ServerStatus{
		Version:  programVersion(),
		Uptime:   time.Since(h.started).Seconds(),
		Started:  h.started.UTC(),
		Listen:   h.server.Addrs(),
		Role:     g.config.Role,
		Config:   g.config.File(),
		Reloaded: g.applied.UTC(),
		Healthy:  h.reloads.healthy(),
		Zones:    h.manager.Count(),
	}
}

// programVersion returns the version that this program was built as.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// Settings implements [api.Host]. Secrets are not among them.
func (h apiHost) Settings() []api.Setting {
	var list []api.Setting
	for _, s := range h.current.Load().config.Effective() {
		if strings.HasSuffix(s.Key, ".secret") || strings.HasSuffix(s.Key, ".hash") {
			s.Value = "(hidden)"
		}
		list = append(list, api.Setting{Key: s.Key, Value: s.Value, Origin: s.Origin})
	}
	return list
}

// Statistics implements [api.Host].
func (h apiHost) Statistics() []api.Statistic {
	var list []api.Statistic
	for line := range strings.Lines(string(h.telemetry.Append(nil))) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if i < 0 {
			continue
		}
		if v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64); err == nil {
			list = append(list, api.Statistic{Name: line[:i], Value: v})
		}
	}
	return list
}

// Flush implements [api.Host].
func (h apiHost) Flush(name []byte) int {
	if h.recursion == nil {
		return 0
	}
	h.recursion.resolver.Flush(name, false)
	return 1
}
