package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"port53/internal/grant"
	"port53/internal/wire"
	"port53/internal/zone"
	"port53/internal/zones"
)

// PowerDNSVersion is what the API of PowerDNS says its version is: clients choose by it what they ask for.
const PowerDNSVersion = "5.1.0-port53"

// pdnsRoutes are the paths of the API of PowerDNS (docs/API.md).
//
// In one piece: it is the table of them.
func pdnsRoutes() []route {
	const server, zone = "/api/v1/servers/*", "/api/v1/servers/*/zones/*"
	list := []route{
		at("GET", "/api", func(c *call) error {
			return c.json(http.StatusOK, []any{map[string]any{"url": "/api/v1", "version": 1}})
		}),
		at("GET", "/api/v1", func(c *call) error {
			return c.json(http.StatusOK, []any{map[string]any{"server_url": "/api/v1/servers{/server}", "api_features": []string{}}})
		}),
		at("GET", "/api/v1/servers", func(c *call) error { return c.json(http.StatusOK, []any{pdnsServer()}) }),
		at("GET", server, func(c *call) error { return c.json(http.StatusOK, pdnsServer()) }),
		at("GET", server+"/config", pdnsConfig),
		at("GET", server+"/config/*", pdnsConfigOne),
		at("GET", server+"/statistics", pdnsStatistics),
		at("GET", server+"/search-data", pdnsSearch),
		at("PUT", server+"/cache/flush", pdnsFlush),
		at("GET", server+"/autoprimaries", pdnsAutoprimaries),
		at("POST", server+"/autoprimaries", pdnsAutoprimaryAdd),
		at("DELETE", server+"/autoprimaries/*/*", pdnsAutoprimaryDrop),
		at("GET", server+"/tsigkeys", pdnsTSIGKeys),
		at("POST", server+"/tsigkeys", pdnsTSIGKeyAdd),
		at("GET", server+"/tsigkeys/*", pdnsTSIGKey),
		at("PUT", server+"/tsigkeys/*", pdnsTSIGKeySet),
		at("DELETE", server+"/tsigkeys/*", pdnsTSIGKeyDrop),
		at("GET", server+"/zones", pdnsZones),
		at("POST", server+"/zones", pdnsZoneAdd),
		at("GET", zone, pdnsZone),
		at("PATCH", zone, pdnsPatch),
		at("PUT", zone, pdnsZoneSet),
		at("DELETE", zone, pdnsZoneDrop),
		at("PUT", zone+"/notify", pdnsNotify),
		at("PUT", zone+"/axfr-retrieve", pdnsRetrieve),
		at("GET", zone+"/export", pdnsExport),
		at("PUT", zone+"/rectify", pdnsRectify),
		at("GET", zone+"/metadata", pdnsMetadata),
		at("POST", zone+"/metadata", pdnsMetadataAdd),
		at("GET", zone+"/metadata/*", pdnsMetadataOne),
		at("PUT", zone+"/metadata/*", pdnsMetadataSet),
		at("DELETE", zone+"/metadata/*", pdnsMetadataDrop),
		at("GET", zone+"/cryptokeys", pdnsKeys),
		at("POST", zone+"/cryptokeys", pdnsKeyAdd),
		at("GET", zone+"/cryptokeys/*", pdnsKey),
		at("PUT", zone+"/cryptokeys/*", pdnsKeySet),
		at("DELETE", zone+"/cryptokeys/*", pdnsKeyDrop),
	}
	for i := range list {
		do := list[i].do
		list[i].pdns = true
		list[i].do = func(c *call) error {
			if len(c.params) > 0 && c.params[0] != "localhost" {
				return notFound()
			}
			return do(c)
		}
	}
	return list
}

func pdnsServer() map[string]any {
	const url = "/api/v1/servers/localhost"
	return map[string]any{
		"type":              "Server",
		"id":                "localhost",
		"daemon_type":       "authoritative",
		"version":           PowerDNSVersion,
		"url":               url,
		"config_url":        url + "/config{/config_setting}",
		"zones_url":         url + "/zones{/zone}",
		"autoprimaries_url": url + "/autoprimaries{/autoprimary}",
	}
}

// sees reports whether the caller may see that a zone is there.
func (c *call) sees(apex []byte) bool {
	for _, verb := range []grant.Verbs{grant.Read, grant.Change, grant.Notify, grant.Sign} {
		if c.holder.MayAny(verb, apex, c.now) {
			return true
		}
	}
	return false
}

// admin refuses who may not do all with a zone.
func (c *call) admin(apex []byte) error {
	if !c.holder.MayWholeZone(grant.Admin, apex, c.now) {
		return forbidden(c.credential() + " may not administer zone " + wire.NameText(apex))
	}
	return nil
}

// administered returns the zone that the path names, if the client may administer it.
func (c *call) administered() (zones.Snapshot, error) {
	v, err := c.find(c.params[1])
	if err == nil {
		err = c.admin(v.Apex)
	}
	return v, err
}

// server refuses who may not do something with the server.
func (c *call) server(want grant.Verbs) error {
	if !c.holder.MayServer(want, c.now) {
		return forbidden(c.credential() + " has no grant of " + want.String() + " for all zones, names and types")
	}
	return nil
}

func pdnsConfig(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	all := []any{}
	for _, s := range c.host.Settings() {
		all = append(all, map[string]any{"type": "ConfigSetting", "name": s.Key, "value": s.Value})
	}
	return c.json(http.StatusOK, all)
}

func pdnsConfigOne(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	for _, s := range c.host.Settings() {
		if s.Key == c.params[1] {
			return c.json(http.StatusOK, map[string]any{"type": "ConfigSetting", "name": s.Key, "value": s.Value})
		}
	}
	return notFound()
}

func pdnsStatistics(c *call) error {
	if err := c.server(grant.Read); err != nil {
		return err
	}
	wanted, all := c.r.URL.Query().Get("statistic"), []any{}
	item := func(name, value string) {
		if wanted == "" || wanted == name {
			all = append(all, map[string]any{"type": "StatisticItem", "name": name, "value": value})
		}
	}
	item("uptime", strconv.Itoa(int(c.host.Server().Uptime)))
	for _, s := range c.host.Statistics() {
		item(s.Name, strconv.FormatFloat(s.Value, 'f', -1, 64))
	}
	if wanted != "" && len(all) == 0 {
		return invalid("Unknown statistic name")
	}
	return c.json(http.StatusOK, all)
}

func pdnsFlush(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	name, err := nameOf(c.r.URL.Query().Get("domain"))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, map[string]any{"count": c.host.Flush(name), "result": "Flushed cache."})
}

// Servers that may announce zones of which nobody here has heard are not there: a catalog does that.
func pdnsAutoprimaries(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	return c.json(http.StatusOK, []any{})
}

func pdnsAutoprimaryAdd(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	d, err := c.document()
	for _, key := range []string{"ip", "nameserver"} {
		if err == nil {
			_, err = d.text(key)
		}
	}
	if err != nil {
		return err
	}
	return invalid("there are no autoprimaries: consume a catalog zone of the primary (RFC 9432)")
}

func pdnsAutoprimaryDrop(c *call) error {
	if err := c.server(grant.Admin); err != nil {
		return err
	}
	return c.none()
}

// A found is what a search has found.
type found struct {
	Content  string `json:"content,omitempty"`
	Disabled *bool  `json:"disabled,omitempty"`
	Name     string `json:"name"`
	Kind     string `json:"object_type"`
	TTL      *int   `json:"ttl,omitempty"`
	Type     string `json:"type,omitempty"`
	Zone     string `json:"zone,omitempty"`
	ZoneID   string `json:"zone_id"`
}

// like returns a function that reports whether a text is one of a pattern's, in which * stands for any
// octets and ? for one, without regard to case.
func like(pattern string) func(text string) bool {
	pattern = strings.ToLower(pattern)
	return func(text string) bool {
		text = strings.ToLower(text)
		p, t, star, mark := 0, 0, -1, 0
		for t < len(text) {
			switch {
			case p < len(pattern) && pattern[p] == '*':
				star, mark = p, t
				p++
			case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
				p, t = p+1, t+1
			case star >= 0:
				mark++
				p, t = star+1, mark
			default:
				return false
			}
		}
		return strings.Trim(pattern[p:], "*") == ""
	}
}

func pdnsSearch(c *call) error {
	q := c.r.URL.Query()
	most, kind := 100, cmp.Or(q.Get("object_type"), "all")
	if text := q.Get("max"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return invalid("Maximum entries must be a number")
		}
		most = n
	}
	switch {
	case q.Get("q") == "":
		return invalid("Query q can't be blank")
	case most < 1:
		return invalid("Maximum entries must be larger than 0")
	case !slices.Contains([]string{"all", "zone", "record", "comment"}, kind):
		return invalid("object_type must be one of the following options: all, zone, record, comment")
	}
	return c.json(http.StatusOK, c.search(like(q.Get("q")), kind, most))
}

// search returns what fits, of what the caller may read.
func (c *call) search(fits func(string) bool, kind string, most int) []found {
	list := []found{}
	c.zones.Walk(func(v zones.Snapshot) bool {
		if !c.holder.MayAny(grant.Read, v.Apex, c.now) {
			return true
		}
		name, id := strings.TrimSuffix(wire.NameText(v.Apex), "."), zoneID(v.Key)
		if (kind == "all" || kind == "zone") && fits(name) {
			list = append(list, found{Name: name + ".", Kind: "zone", ZoneID: id})
		}
		if kind == "zone" || v.Zone == nil {
			return len(list) < most
		}
		eachRRset(v.Zone, func(s *rrset) bool {
			if !c.may(grant.Read, v.Apex, wire.Lower(nil, s.owner), s.t) {
				return true
			}
			named := fits(strings.TrimSuffix(s.Name, "."))
			ttl := int(s.TTL)
			for _, r := range s.Records {
				if kind != "comment" && (named || fits(shortContent(r.Content))) {
					list = append(list, found{r.Content, &r.Disabled, s.Name, "record", &ttl, s.Type, name + ".", id})
				}
			}
			for _, m := range s.Comments {
				if kind != "record" && (named || fits(m.Content)) {
					list = append(
						list,
						found{Content: m.Content, Name: s.Name, Kind: "comment", Type: s.Type, Zone: name + ".", ZoneID: id},
					)
				}
			}
			return len(list) < most
		})
		return len(list) < most
	})
	return list[:min(most, len(list))]
}

// serialOf returns the serial of a version; 0: there is none.
func serialOf(z *zone.Zone) uint32 {
	if z == nil {
		return 0
	}
	return z.Serial()
}
