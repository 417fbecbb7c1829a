package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"port53/internal/authority"
	"port53/internal/grant"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zonefile"
	"port53/internal/zones"
)

// A pdnsBrief is a zone as the list of zones has it.
type pdnsBrief struct {
	ID             string   `json:"id"`
	Name           string   `json:"name"`
	URL            string   `json:"url"`
	Kind           string   `json:"kind"`
	Account        string   `json:"account"`
	Catalog        string   `json:"catalog"`
	Masters        []string `json:"masters"`
	LastCheck      int64    `json:"last_check"`
	NotifiedSerial uint32   `json:"notified_serial"`
	Serial         uint32   `json:"serial"`
	DNSSEC         *bool    `json:"dnssec,omitempty"`
	EditedSerial   *uint32  `json:"edited_serial,omitempty"`
}

// A pdnsFull is a zone by itself.
type pdnsFull struct {
	pdnsBrief
	SOAEdit    string   `json:"soa_edit"`
	SOAEditAPI string   `json:"soa_edit_api"`
	APIRectify bool     `json:"api_rectify"`
	NSEC3Param string   `json:"nsec3param"`
	Narrow     bool     `json:"nsec3narrow"`
	PrimaryKey []string `json:"master_tsig_key_ids"`
	OutKeys    []string `json:"slave_tsig_key_ids"`
}

// kindOf returns what kind of zone one is.
func kindOf(v *zones.Snapshot, info *zoneInfo) string {
	switch {
	case v.Status.Role == "secondary":
		return "Slave"
	case info.Kind != "":
		return info.Kind
	case len(v.Status.Secondaries) > 0:
		return "Master"
	}
	return "Native"
}

func brief(v *zones.Snapshot, info *zoneInfo, full bool) pdnsBrief {
	b := pdnsBrief{
		ID: zoneID(v.Key), Name: wire.NameText(v.Apex), Kind: kindOf(v, info), Account: info.Account,
		Masters: mastersOf(v.Status.Primaries, info.Masters), Serial: serialOf(v.Zone),
	}
	b.URL = "/api/v1/servers/localhost/zones/" + b.ID
	if v.Status.Catalog != "" {
		b.Catalog = v.Status.Catalog
	}
	if !v.Status.Checked.IsZero() {
		b.LastCheck = v.Status.Checked.Unix()
	}
	if full {
		signed, serial := v.Status.Signed, serialOf(v.Served)
		b.DNSSEC, b.EditedSerial = &signed, &serial
	}
	return b
}

func notesOf(z *zone.Zone) *zone.Notes {
	if z == nil {
		return nil
	}
	return z.Notes()
}

// pdnsZones sends the list of zones, as it is made: the first of it goes out at once, however many there
// are.
func pdnsZones(c *call) error {
	q := c.r.URL.Query()
	full := q.Get("dnssec") != "false"
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write([]byte("["))
	_ = http.NewResponseController(c.w).Flush()
	first := true
	var line []byte
	send := func(v zones.Snapshot) bool {
		info := infoOf(notesOf(v.Zone))
		text, err := json.Marshal(brief(&v, &info, full))
		if err == nil && c.sees(v.Apex) {
			_, err = c.w.Write(text)
		}
		return err == nil
	}
	if one := q.Get("zone"); one != "" {
		if key, err := parseZoneID(one); err == nil {
			if v, ok := c.zones.Snapshot(key); ok {
				send(v)
			}
		}
	} else {
		c.zones.List(func(b *zones.Summary) bool {
			if !c.sees(b.Apex()) {
				return true
			}
			if line = line[:0]; !first {
				line = append(line, ",\n"...)
			}
			first = false
			line = appendBrief(line, b, full)
			_, err := c.w.Write(line)
			return err == nil
		})
	}
	_, _ = c.w.Write([]byte("]\n"))
	return nil
}

// appendBrief appends what the list has of a zone, in JSON: that of 100,000 zones leaves no memory behind.
func appendBrief(dst []byte, b *zones.Summary, full bool) []byte {
	var info zoneInfo
	if notesOf(b.Zone).Len() > 0 {
		info = infoOf(b.Zone.Notes())
	}
	quoted := func(key, value string) {
		dst = append(append(append(dst, '"'), key...), `":"`...)
		if strings.ContainsAny(value, "\\\"<>&") || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			text, _ := json.Marshal(value) // a text has a form
			dst = append(dst[:len(dst)-1], text...)
		} else {
			dst = append(append(dst, value...), '"')
		}
		dst = append(dst, ',')
	}
	number := func(key string, n uint32) {
		dst = append(strconv.AppendUint(append(append(append(dst, '"'), key...), `":`...), uint64(n), 10), ',')
	}
	kind := "Native"
	switch {
	case b.Secondary:
		kind = "Slave"
	case info.Kind != "":
		kind = info.Kind
	case b.Notifies:
		kind = "Master"
	}
	catalog := ""
	if b.Catalog != nil {
		catalog = wire.NameText(b.Catalog)
	}
	id := zoneID(b.Key)
	dst = append(dst, '{')
	quoted("id", id)
	quoted("name", wire.NameText(b.Apex()))
	quoted("url", "/api/v1/servers/localhost/zones/"+id)
	quoted("kind", kind)
	quoted("account", info.Account)
	quoted("catalog", catalog)
	dst = append(dst, `"masters":`...)
	text, _ := json.Marshal(mastersOf(b.Primaries, info.Masters))
	dst = append(append(dst, text...), ',')
	number("last_check", uint32(max(0, b.Checked.Unix())))
	number("notified_serial", 0)
	if full {
		dst = append(strconv.AppendBool(append(dst, `"dnssec":`...), b.Signed), ',')
		number("edited_serial", serialOf(b.Served))
	}
	number("serial", serialOf(b.Zone))
	dst[len(dst)-1] = '}'
	return dst
}

// mastersOf returns the servers that a zone comes from, as texts: those that it is fetched from, or else
// those that are noted.
func mastersOf(primaries []netip.AddrPort, noted []string) []string {
	list := append([]string{}, noted...)
	if len(primaries) > 0 {
		list = list[:0]
	}
	for _, p := range primaries {
		if p.Port() == 53 {
			list = append(list, p.Addr().String())
		} else {
			list = append(list, p.String())
		}
	}
	return list
}

// pdnsZone sends a zone, its sets as they are read from its version.
func pdnsZone(c *call) error {
	v, err := c.find(c.params[1])
	if err != nil {
		return err
	}
	q := c.r.URL.Query()
	return c.sendZone(http.StatusOK, &v, q.Get("rrsets") != "false", q.Get("rrset_name"), q.Get("rrset_type"))
}

func (c *call) sendZone(status int, v *zones.Snapshot, sets bool, name, typ string) error {
	info := infoOf(notesOf(v.Zone))
	f := pdnsFull{
		pdnsBrief: brief(
			v,
			&info,
			true,
		),
		SOAEdit:    info.SOAEdit,
		SOAEditAPI: info.SOAEditAPI,
		NSEC3Param: nsec3Param(v.Served),
		APIRectify: info.APIRectify != nil &&
			*info.APIRectify,
		PrimaryKey: append([]string{}, info.PrimaryKey...),
		OutKeys:    append([]string{}, info.OutKeys...),
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	if !sets {
		_, _ = c.w.Write(append(text, '\n'))
		return nil
	}
	_, _ = c.w.Write(append(text[:len(text)-1], `,"rrsets":[`...))
	first := true
	if v.Zone != nil {
		eachRRset(v.Zone, func(s *rrset) bool {
			if name != "" && !strings.EqualFold(strings.TrimSuffix(s.Name, "."), strings.TrimSuffix(name, ".")) ||
				typ != "" && !strings.EqualFold(s.Type, typ) ||
				!c.may(grant.Read, v.Apex, wire.Lower(nil, s.owner), s.t) {
				return true
			}
			text, err := json.Marshal(s)
			if err == nil && !first {
				text = append([]byte(",\n"), text...)
			}
			if first = false; err == nil {
				_, err = c.w.Write(text)
			}
			return err == nil
		})
	}
	_, _ = c.w.Write([]byte("]}\n"))
	return nil
}

// pdnsKind reads a kind: what is none is Native.
func pdnsKind(text string) string {
	for _, k := range [][]string{{"Native"}, {"Master", "Primary"}, {"Slave", "Secondary"}, {"Producer"}, {"Consumer"}} {
		for _, word := range k {
			if strings.EqualFold(text, word) {
				return k[0]
			}
		}
	}
	return "Native"
}

// readMasters reads the servers that a zone is fetched from.
func readMasters(d document) (list []netip.AddrPort, texts []string, err error) {
	values, _ := d.list("masters")
	for _, v := range values {
		text, _ := v.(string)
		if text == "" {
			return nil, nil, invalid("Master can not be an empty string")
		}
		p, err := netip.ParseAddrPort(text)
		if a, bare := netip.ParseAddr(text); bare == nil {
			p, err = netip.AddrPortFrom(a, 53), nil
		}
		if err != nil {
			return nil, nil, invalid("Master (" + text + ") is not an IP address: Unable to convert presentation address '" + text + "'")
		}
		list, texts = append(list, p), append(texts, text)
	}
	return list, texts, nil
}

// pdnsZoneAdd makes a zone.
func pdnsZoneAdd(c *call) error {
	d, err := c.document()
	if err != nil {
		return err
	}
	text, err := d.text("name")
	if err != nil {
		return err
	}
	apex, err := nameOf(text)
	if err != nil {
		return err
	}
	if err := plainName(apex); err != nil {
		return err
	}
	kind, err := d.text("kind")
	if err != nil {
		return err
	}
	lower := wire.Lower(nil, apex)
	if !c.holder.MayWholeZone(grant.Admin, lower, c.now) {
		return forbidden(c.credential() + " may not administer zone " + wire.NameText(lower))
	}
	if _, there := c.zones.Snapshot(lower); there {
		return &problem{status: http.StatusConflict}
	}
	spec := &ZoneSpec{Apex: apex}
	info := zoneInfo{Kind: pdnsKind(kind)}
	if err := c.describe(d, spec, &info); err != nil {
		return err
	}
	if err := settled(d, "", ""); err != nil {
		return err
	}
	if _, given := d["soa_edit_api"].(string); !given {
		info.SOAEditAPI = "DEFAULT"
	}
	if spec.First, err = c.firstOf(d, apex, &info); err != nil {
		return err
	}
	if info.Kind == "Slave" && len(spec.Primaries) == 0 {
		return invalid("a Slave zone has masters")
	}
	if err := c.host.MakeZone(c.by(), spec); err != nil {
		return err
	}
	c.events.tell(happened{Kind: "zone added", Zone: wire.NameText(lower), By: c.by(), apex: lower})
	v, ok := c.zones.Snapshot(lower)
	if !ok {
		return notFound()
	}
	sets := true
	if q := c.r.URL.Query().Get("rrsets"); q == "false" {
		sets = false
	}
	return c.sendZone(http.StatusCreated, &v, sets, "", "")
}

// settled refuses what a request says of a zone that the configuration alone says, unless it is so already: what GET
// gave may be sent back. param and catalog are how it is.
func settled(d document, param, catalog string) error {
	if text, there := d.has("nsec3param"); there && text != param {
		return invalid(fmt.Sprintf("nsec3param: it is %q here, and is not changed by the API: "+
			"write dnssec: {denial: nsec3} at the zone in the configuration, or in a template", param))
	}
	if narrow, _ := d.flag("nsec3narrow"); narrow {
		return invalid("nsec3narrow: it is not there: write dnssec: {denial: compact} at the zone in the configuration, or in a template")
	}
	if text, there := d.has("catalog"); there && !strings.EqualFold(strings.TrimSuffix(text, "."), strings.TrimSuffix(catalog, ".")) {
		return invalid(fmt.Sprintf("catalog: it is %q here, and is not changed by the API: "+
			"the configuration says which zones a catalog has", catalog))
	}
	return nil
}

// nsec3Param returns the NSEC3 parameters of a zone as it is served; empty: there are none.
func nsec3Param(z *zone.Zone) (text string) {
	if z == nil {
		return ""
	}
	var set zone.Unpacked
	if z.UnpackType(&set, z.Root(), wire.TypeNSEC3PARAM) && len(set.Data) > 0 {
		text = contentOf(wire.TypeNSEC3PARAM, set.Data[0])
	}
	return text
}

// describe reads what a request says of a zone as a whole.
func (c *call) describe(d document, spec *ZoneSpec, info *zoneInfo) (err error) {
	var texts []string
	if spec.Primaries, texts, err = readMasters(d); err != nil {
		return err
	}
	if kind, there := d.has("kind"); there {
		info.Kind = pdnsKind(kind)
	}
	if len(texts) > 0 {
		info.Masters = texts
	}
	if info.Kind != "Slave" {
		spec.Primaries = nil
	}
	for key, to := range map[string]*string{
		"account": &info.Account, "soa_edit_api": &info.SOAEditAPI,
		"soa_edit": &info.SOAEdit,
	} {
		if text, there := d.has(key); there {
			*to = text
		}
	}
	if rectify, there := d.flag("api_rectify"); there {
		info.APIRectify = &rectify
	}
	for key, to := range map[string]*[]string{"master_tsig_key_ids": &info.PrimaryKey, "slave_tsig_key_ids": &info.OutKeys} {
		values, there := d.list(key)
		if !there {
			continue
		}
		*to = nil
		for _, v := range values {
			id, _ := v.(string)
			if !slices.ContainsFunc(
				c.host.TSIGKeys(),
				func(k TSIGKey) bool { return strings.EqualFold(k.Name, strings.TrimSuffix(id, ".")) },
			) {
				return invalid("A TSIG key with the name '" + id + "' does not exist")
			}
			*to = append(*to, id)
		}
	}
	_, spec.Keyed = d.list("master_tsig_key_ids")
	if len(info.PrimaryKey) > 0 {
		spec.TSIG = strings.TrimSuffix(info.PrimaryKey[0], ".")
	}
	if signed, there := d.flag("dnssec"); there {
		spec.Signed = signed
	}
	if text, there := d.has("nsec3param"); there && text != "" && !spec.Signed {
		return invalid("NSEC3PARAM value provided for zone '" + wire.NameText(spec.Apex) + "', but zone is not DNSSEC secured.")
	}
	return nil
}

// firstOf returns what a zone begins with: the sets, name servers and zone file of a request, and a SOA
// record if these have none.
func (c *call) firstOf(d document, apex []byte, info *zoneInfo) (*zones.First, error) {
	first := &zones.First{Notes: []zone.Note{info.note()}}
	if info.Kind == "Slave" {
		return first, nil
	}
	sets, err := c.firstSets(d, apex)
	if err != nil {
		return nil, err
	}
	has := func(t wire.Type) *rrset {
		for _, s := range sets {
			if s.t == t && wire.EqualFold(s.owner, apex) {
				return s
			}
		}
		return nil
	}
	servers, _ := d.list("nameservers")
	if v, there := d["nameservers"]; there && v != nil {
		if _, ok := v.([]any); !ok {
			return nil, invalid("Nameservers is not a list")
		}
	}
	if len(servers) > 0 && has(wire.TypeNS) != nil {
		return nil, invalid("Nameservers list MUST NOT be mixed with zone-level NS in rrsets")
	}
	ns := newRRset(apex, wire.TypeNS)
	ns.TTL = 3600
	for _, v := range servers {
		text, ok := v.(string)
		if !ok || !strings.HasSuffix(text, ".") {
			return nil, invalid("Nameserver is not canonical: '" + text + "'")
		}
		name, err := nameOf(text)
		if err != nil {
			return nil, err
		}
		ns.Records = append(ns.Records, record{Content: text, data: name})
	}
	if len(ns.Records) > 0 {
		sets = append(sets, ns)
	}
	soa := has(wire.TypeSOA)
	if soa == nil {
		if soa, err = defaultSOA(apex, has(wire.TypeNS), ns); err != nil {
			return nil, err
		}
		sets = append(sets, soa)
	}
	if len(soa.Records) != 1 || soa.Records[0].Disabled {
		return nil, invalid("a zone without a SOA record cannot be served")
	}
	comesSigned := has(wire.TypeDNSKEY) != nil && has(wire.TypeRRSIG) != nil // its serial is signed as well
	if !comesSigned && (!strings.EqualFold(info.SOAEditAPI, "SOA-EDIT") || info.SOAEdit != "") {
		data := soa.Records[0].data
		soa.Records[0].data = zone.WithSerial(data, serialAfter(info.SOAEditAPI, info.SOAEdit, zone.SerialOf(data), c.now))
	}
	for _, s := range sets {
		first.Sets = append(first.Sets, s.set())
		si := s.info()
		if n := si.note(s.owner, s.t); n.Value != "" {
			first.Notes = append(first.Notes, n)
		}
	}
	return first, nil
}

// defaultSOA returns the SOA record of a zone that was given none. Its primary is the first of its name
// servers.
func defaultSOA(apex []byte, given, listed *rrset) (*rrset, error) {
	primary := []byte("\x01a\x0dmisconfigured\x03dns\x06server\x07invalid\x00")
	for _, s := range []*rrset{listed, given} {
		if s != nil && len(s.Records) > 0 {
			primary = s.Records[0].data
		}
	}
	mail := append([]byte("\x0ahostmaster"), apex...)
	if len(mail) > wire.MaxName {
		mail = wire.Root
	}
	s := newRRset(apex, wire.TypeSOA)
	s.TTL = 3600
	data, err := dataOf(wire.Root, wire.TypeSOA, fmt.Sprintf("%s %s 0 10800 3600 604800 3600", wire.NameText(primary), wire.NameText(mail)))
	s.Records = []record{{Content: contentOf(wire.TypeSOA, data), data: data}}
	return s, err
}

// firstSets returns the sets that a request has, as a list or as a zone file.
func (c *call) firstSets(d document, apex []byte) (sets []*rrset, err error) {
	list, _ := d.objects("rrsets")
	if text, there := d.has("zone"); there && text != "" {
		if len(list) > 0 {
			return nil, invalid("You cannot give rrsets AND zone data as text")
		}
		return setsOfFile(text, apex)
	}
	types := map[string]map[wire.Type]bool{}
	for _, one := range list {
		ch, err := c.readChange(apex, one, true)
		if err != nil {
			return nil, err
		}
		key := string(wire.Lower(nil, ch.owner))
		if types[key] == nil {
			types[key] = map[wire.Type]bool{}
		}
		if types[key][ch.t] {
			return nil, invalid("Duplicate " + ch.text())
		}
		for t := range types[key] {
			if t == wire.TypeCNAME || ch.t == wire.TypeCNAME {
				return nil, invalid(ch.text() + ": Conflicts with another RRset")
			}
		}
		types[key][ch.t] = true
		s := newRRset(ch.owner, ch.t)
		s.TTL, s.Records, s.Comments = ch.ttl, ch.records, ch.comments
		sets = append(sets, s)
	}
	return sets, nil
}

// maxZoneText is the most records of a zone that is given as text.
const maxZoneText = 100_000

func setsOfFile(text string, apex []byte) (sets []*rrset, err error) {
	at := map[string]*rrset{}
	_, err = zonefile.Read(
		strings.NewReader(text),
		zonefile.Options{Origin: apex, Name: "zone", MaxRecords: maxZoneText},
		func(r *zonefile.Record) error {
			key := setNote(r.Owner, r.Type)
			s := at[key]
			if s == nil {
				s = newRRset(bytes.Clone(r.Owner), r.Type)
				s.TTL = r.TTL
				at[key], sets = s, append(sets, s)
			}
			s.TTL = min(s.TTL, r.TTL)
			data := bytes.Clone(r.Data)
			s.Records = append(s.Records, record{Content: contentOf(r.Type, data), data: data})
			return nil
		},
	)
	if err != nil {
		return nil, invalid("zone: " + err.Error())
	}
	return sets, nil
}

// pdnsZoneSet changes what a zone is.
func pdnsZoneSet(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	d, err := c.document()
	if err != nil {
		return err
	}
	info := infoOf(notesOf(v.Zone))
	info.Kind = kindOf(&v, &info)
	spec := &ZoneSpec{Apex: v.Apex, Qualifier: v.Qualifier, Signed: v.Status.Signing != nil}
	was := *spec
	if err := c.describe(d, spec, &info); err != nil {
		return err
	}
	if err := settled(d, nsec3Param(v.Served), v.Status.Catalog); err != nil {
		return err
	}
	if info.Kind == "Slave" && len(spec.Primaries) == 0 && v.Status.Role == "secondary" {
		spec.Primaries = v.Status.Primaries
	}
	was.Primaries = v.Status.Primaries
	if !slices.Equal(spec.Primaries, was.Primaries) || spec.Signed != was.Signed || spec.Keyed && len(spec.Primaries) > 0 {
		if err := c.host.ChangeZone(c.by(), spec); err != nil {
			return err
		}
	}
	if _, err := c.edit(v.Key, noted(func(i *zoneInfo) error {
		keep := i.Metadata
		*i = info
		i.Metadata = keep
		return nil
	})); err != nil {
		return err
	}
	return c.none()
}

// noted returns the plan that changes what is noted of a zone as a whole, and nothing else.
func noted(change func(*zoneInfo) error) zones.Plan {
	return func(now *authority.Updater, notes *zone.Notes) (zones.Changes, error) {
		info := infoOf(notes)
		if err := change(&info); err != nil {
			return zones.Changes{}, err
		}
		return zones.Changes{Serial: now.Serial(), Notes: []zone.Note{info.note()}}, nil
	}
}

func pdnsZoneDrop(c *call) error {
	v, err := c.administered()
	if err != nil {
		return err
	}
	if err := c.host.DropZone(c.by(), v.Key); err != nil {
		return err
	}
	c.events.tell(happened{Kind: "zone removed", Zone: wire.NameText(v.Apex), By: c.by(), apex: v.Apex})
	return c.none()
}

// notify refuses who may not say that a zone has changed.
func (c *call) mayNotify(apex []byte) error {
	if !c.holder.MayAny(grant.Notify, apex, c.now) {
		return forbidden(c.credential() + " may not have others told of zone " + wire.NameText(apex))
	}
	return nil
}

func pdnsNotify(c *call) error {
	v, err := c.find(c.params[1])
	if err != nil {
		return err
	}
	if err := c.mayNotify(v.Apex); err != nil {
		return err
	}
	// Without followers there is nobody to tell, which PowerDNS finds no fault with either.
	if len(v.Status.Secondaries) > 0 {
		if err := c.zones.Announce(v.Key); err != nil {
			return err
		}
	}
	return c.json(http.StatusOK, map[string]any{"result": "Notification queued"})
}

func pdnsRetrieve(c *call) error {
	v, err := c.find(c.params[1])
	if err != nil {
		return err
	}
	if err := c.mayNotify(v.Apex); err != nil {
		return err
	}
	name := wire.NameText(v.Apex)
	if v.Status.Role != "secondary" {
		return invalid("Domain '" + name + "' is not a slave domain (or has no master defined)")
	}
	if err := c.zones.Refresh(v.Key, true); err != nil {
		return err
	}
	return c.json(
		http.StatusOK,
		map[string]any{"result": "Added retrieval request for '" + name + "' from master " + v.Status.Primaries[0].Addr().String()},
	)
}

func pdnsExport(c *call) error {
	v, err := c.find(c.params[1])
	if err != nil {
		return err
	}
	switch {
	case !c.holder.MayWholeZone(grant.Read, v.Apex, c.now):
		return forbidden(c.credential() + " may not read the whole of zone " + wire.NameText(v.Apex))
	case v.Served == nil:
		return invalid("the zone is not loaded")
	}
	if strings.Contains(c.r.Header.Get("Accept"), "application/json") {
		var b bytes.Buffer
		if err := zones.WriteZone(&b, v.Served); err != nil {
			return err
		}
		return c.json(http.StatusOK, map[string]any{"zone": b.String()})
	}
	c.w.Header().Set("Content-Type", "text/plain; charset=us-ascii")
	return zones.WriteZone(c.w, v.Served)
}

// pdnsRectify has nothing to do: order and proofs are made with each version.
func pdnsRectify(c *call) error {
	if _, err := c.administered(); err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]any{"result": "Rectified"})
}
