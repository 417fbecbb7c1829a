package api_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"port53/internal/api"
	"port53/internal/dnstest"
	"port53/internal/event"
	"port53/internal/grant"
	"port53/internal/top"
	"port53/internal/why"
	"port53/internal/zones"
)

// A host is a server that has the one token "secret", which may do all with zone test, and nothing else.
type host struct {
	*zones.Manager
	api.Operator
}

// An operator has nothing to tell.
type operator struct{}

var errNothing = errors.New("there is nothing")

func (operator) Filters() (any, error) { return nil, errNothing }

func (operator) UpdateFilters(context.Context, string, string) (any, error) { return nil, errNothing }

func (operator) PauseFilters(string, time.Duration) (any, error) { return nil, errNothing }

func (operator) TestFilter(string, string, string) (any, error) { return nil, errNothing }

func (operator) Signing([]byte) (any, error) { return nil, errNothing }
func (operator) RollKey(context.Context, string, []byte, uint16, bool) (any, error) {
	return nil, errNothing
}
func (operator) AuditLog(int) []api.AuditEntry                          { return nil }
func (operator) Check(context.Context, []byte) (json.RawMessage, error) { return nil, errNothing }

// Signing is of both that a host is made of.
func (host) Signing([]byte) (any, error) { return nil, errNothing }

func (host) CertificateHolder([]*x509.Certificate) *grant.Holder { return nil }

func (host) Holder(token string) *grant.Holder {
	z, _ := grant.ParseZones([]string{"*"})
	if token != "secret" {
		return nil
	}
	return &grant.Holder{Kind: grant.Token, Name: "t", Grants: []grant.Grant{{Zones: z, Names: []string{"*"}, Verbs: grant.All}}}
}
func (host) MakeZone(string, *api.ZoneSpec) error                   { return api.ErrExists }
func (host) ChangeZone(string, *api.ZoneSpec) error                 { return api.ErrBound }
func (host) DropZone(string, []byte) error                          { return api.ErrBound }
func (host) TSIGKeys() []api.TSIGKey                                { return []api.TSIGKey{{Name: "k", Algorithm: "hmac-sha256"}} }
func (host) DropTSIGKey(string, string) error                       { return api.ErrBound }
func (host) Keys([]byte) ([]api.Key, error)                         { return []api.Key{{ID: 1}}, nil }
func (host) MakeKey(_ string, _ []byte, k api.Key) (api.Key, error) { return k, nil }
func (host) ChangeKey(string, []byte, api.Key) error                { return nil }
func (host) DropKey(string, []byte, int) error                      { return nil }
func (host) Server() api.ServerStatus                               { return api.ServerStatus{} }
func (host) Settings() []api.Setting                                { return nil }
func (host) Statistics() []api.Statistic                            { return nil }
func (host) Flush([]byte) int                                       { return 0 }
func (host) Tunnels() top.TunnelReport                              { return top.TunnelReport{} }
func (host) Top(bool, int) (*top.Report, error)                     { return &top.Report{}, nil }
func (host) Why(why.Question) ([]why.Report, error)                 { return []why.Report{}, nil }
func (host) Follow(event.Filter) (<-chan api.Query, func() uint64, func(), error) {
	return nil, nil, nil, api.ErrFollowed
}

func (host) SetTSIGKey(_, _ string, k api.TSIGKey) (api.TSIGKey, error) {
	return k, api.ErrAlgorithm
}

// newServer returns a server with a zone that may be changed.
func newServer(t testing.TB) http.Handler {
	m := zones.New(zones.Options{})
	v := dnstest.Zone(t, "test.", "$TTL 60\n@ SOA ns admin 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nx CNAME ns\n* TXT \"w\"\n")
	s := zones.Source{Apex: dnstest.Name(t, "test."), Changes: true, Origin: given{v}}
	if _, err := m.Load(t.Context(), []zones.Source{s}, nil); err != nil {
		t.Fatal(err)
	}
	return api.New(api.Options{Zones: m, Host: host{m, operator{}}, PowerDNS: true})
}

// FuzzRequests: whatever is asked, there is an answer, it is bounded, none of it is the token, and the zone
// goes on to be one.
func FuzzRequests(f *testing.F) {
	const set = `{"rrsets":[{"name":"a.test.","type":"A","ttl":60,"changetype":"REPLACE","records":[{"content":"192.0.2.1","disabled":true}],"comments":[{"content":"c","account":"a"}]}]}`
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for _, path := range []string{
			"/api", "/api/v1/servers/localhost/zones", "/api/v1/servers/localhost/zones/test.", "/api/v1/servers/localhost/zones/test./metadata/X-A", "/api/v1/servers/localhost/zones/test./cryptokeys/1",
			"/api/v1/servers/localhost/tsigkeys/k", "/api/v1/servers/localhost/search-data?q=*&max=3", "/v1/zones/test/records?limit=1&at=1", "/v1/zones/test/plan", "/v1/zones/test/undo", "/v1/zones?after=a..b",
		} {
			f.Add(method, path, set)
			f.Add(method, path, `{"changes":[{"change":"replace","name":"a.test.","type":"TXT","ttl":60,"records":[{"content":"\"x\""}]}]}`)
		}
	}
	f.Add("PATCH", "/api/v1/servers/localhost/zones/test=2", `{"rrsets":[{"name":"\u0000.test.","type":"TYPE65535","ttl":1e9,"changetype":"EXTEND","records":[{"content":"\\# 1 ff"}]}]}`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "/v1/events") {
			return
		}
		req, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
		if err != nil {
			return
		}
		req.RemoteAddr = "192.0.2.9:1"
		req.Header.Set("X-API-Key", "secret")
		s := newServer(t)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, req)
		if w.Code < 200 || w.Code > 599 || w.Body.Len() > 1<<20 || strings.Contains(w.Body.String(), "secret") && !strings.Contains(path+body, "secret") {
			t.Errorf("%s %s %q: %d, %d octets", method, path, body, w.Code, w.Body.Len())
		}
		again, _ := http.NewRequest("GET", "http://127.0.0.1/api/v1/servers/localhost/zones/test.", nil)
		again.Header.Set("X-API-Key", "secret")
		w = httptest.NewRecorder()
		if s.ServeHTTP(w, again); w.Code != 200 || !strings.Contains(w.Body.String(), "SOA") {
			t.Errorf("%s %s %q: the zone is then %d %s", method, path, body, w.Code, w.Body)
		}
		for _, key := range []string{"", "secret2", "secre"} {
			req.Header.Set("X-API-Key", key)
			w = httptest.NewRecorder()
			if s.ServeHTTP(w, req); w.Code != 401 && w.Code != 404 && method != "OPTIONS" {
				t.Errorf("%s %s with %q: %d", method, path, key, w.Code)
			}
		}
	})
}
