// Package acmetest is an authority of ACME for tests. It issues what is asked for once a test's own
// function has seen the proof; signatures of requests it does not verify.
package acmetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"port53/internal/certs/certtest"
)

// A Challenge is what the authority looks for.
type Challenge struct {
	Kind  string // http-01, dns-01 or tls-alpn-01
	Name  string
	Token string
	Proof string // the key authorization
}

// Digest is the text of the record of dns-01.
func (c *Challenge) Digest() string {
	sum := sha256.Sum256([]byte(c.Proof))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// An Authority is one. Its fields but Look may be changed under Lock.
type Authority struct {
	*httptest.Server
	*certtest.Authority
	Look func(c *Challenge) error // what is wrong with a proof; nil: nothing

	sync.Mutex
	Life     time.Duration // of certificates
	Down     bool          // it answers 503
	Refusal  string        // the type of the problem by which orders are refused, as rateLimited
	Window   [2]time.Time  // what it suggests for renewals
	Orders   int           // all that were asked for
	Requests int
	Replaced []string // what orders said that they replace
	Profiles []string // that orders asked for

	Bindings

	thumb  string
	orders []*order
}

// Bindings are the accounts that vouch for those of ACME.
type Bindings struct {
	Keys  map[string][]byte // by their identifiers, one of which has to vouch for an account; nil: none has to
	Bound []string          // identifiers that accounts were bound by
}

type order struct {
	names []identifier
	valid []bool
	cert  []byte
}

type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// New makes an authority that lasts as long as the test.
func New(t testing.TB, look func(c *Challenge) error) *Authority {
	t.Helper()
	a := &Authority{Authority: certtest.New(t), Look: look, Life: 90 * 24 * time.Hour}
	a.Server = httptest.NewTLSServer(a)
	t.Cleanup(a.Close)
	return a
}

// Roots are by whom the authority's own server is known.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate())
	return pool
}

// PEM is the same as the text of a file.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
}

// Directory is the URL of its directory. With /ari behind it the authority suggests when to renew.
func (a *Authority) Directory() string { return a.URL + "/directory" }

// ServeHTTP implements http.Handler.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.Lock()
	defer a.Unlock()
	a.Requests++
	w.Header().Set("Replay-Nonce", strconv.Itoa(a.Requests))
	w.Header().Set("Content-Type", "application/json")
	if a.Down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var body struct{ Protected, Payload string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	protected, _ := base64.RawURLEncoding.DecodeString(body.Protected)
	payload, _ := base64.RawURLEncoding.DecodeString(body.Payload)
	part := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	at := func(i int) int {
		n, _ := strconv.Atoi(append(part, "", "", "")[i])
		return n
	}
	switch part[0] {
	case "directory":
		d := map[string]any{
			"newNonce": a.URL + "/nonce", "newAccount": a.URL + "/account", "newOrder": a.URL + "/order",
			"meta": map[string]any{"profiles": map[string]string{"shortlived": "for a few days"}},
		}
		if len(part) > 1 {
			d["renewalInfo"] = a.URL + "/renewal"
		}
		a.tell(w, 200, d)
	case "nonce":
	case "account":
		var head struct{ JWK struct{ Crv, X, Y string } }
		_ = json.Unmarshal(protected, &head)
		sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":%q,"kty":"EC","x":%q,"y":%q}`, head.JWK.Crv, head.JWK.X, head.JWK.Y))
		a.thumb = base64.RawURLEncoding.EncodeToString(sum[:])
		if problem := a.bind(payload, head.JWK.X); problem != "" {
			a.refuse(w, problem, "no account that is known vouches for this one")
			return
		}
		w.Header().Set("Location", a.URL+"/account/"+a.thumb)
		a.tell(w, 201, map[string]any{"status": "valid"})
	case "order":
		a.order(w, payload)
	case "orders":
		a.tell(w, 200, a.status(at(1)))
	case "authz":
		a.authorization(w, at(1), at(2))
	case "prove":
		a.prove(w, at(1), at(2), part[3])
	case "finalize":
		a.finalize(w, at(1), payload)
	case "cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		_, _ = w.Write(a.orders[at(1)].cert)
	case "renewal":
		a.tell(w, 200, map[string]any{"suggestedWindow": map[string]time.Time{"start": a.Window[0], "end": a.Window[1]}})
	default:
		http.NotFound(w, r)
	}
}

// bind looks at what binds a new account to another (RFC 8555, section 7.3.4). key is a part of the
// account's own. It returns the type of the problem, or "".
func (a *Authority) bind(payload []byte, key string) string {
	if a.Keys == nil {
		return ""
	}
	var p struct {
		Binding *struct{ Protected, Payload, Signature string } `json:"externalAccountBinding"`
	}
	if json.Unmarshal(payload, &p) != nil || p.Binding == nil {
		return "externalAccountRequired"
	}
	var head struct{ Alg, Kid, URL string }
	protected, _ := base64.RawURLEncoding.DecodeString(p.Binding.Protected)
	own, _ := base64.RawURLEncoding.DecodeString(p.Binding.Payload)
	signature, _ := base64.RawURLEncoding.DecodeString(p.Binding.Signature)
	_ = json.Unmarshal(protected, &head)
	mac := hmac.New(sha256.New, a.Keys[head.Kid])
	mac.Write([]byte(p.Binding.Protected + "." + p.Binding.Payload))
	if a.Keys[head.Kid] == nil || head.Alg != "HS256" || head.URL != a.URL+"/account" || !hmac.Equal(mac.Sum(nil), signature) ||
		!strings.Contains(string(own), key) {
		return "unauthorized"
	}
	a.Bound = append(a.Bound, head.Kid)
	return ""
}

func (a *Authority) tell(w http.ResponseWriter, status int, what any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(what)
}

func (a *Authority) refuse(w http.ResponseWriter, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	a.tell(w, 403, map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": 403})
}

func (a *Authority) order(w http.ResponseWriter, payload []byte) {
	a.Orders++
	if a.Refusal != "" {
		a.refuse(w, a.Refusal, "as the test will have it")
		return
	}
	var want struct {
		Identifiers       []identifier
		Replaces, Profile string
	}
	_ = json.Unmarshal(payload, &want)
	a.Replaced, a.Profiles = append(a.Replaced, want.Replaces), append(a.Profiles, want.Profile)
	a.orders = append(a.orders, &order{names: want.Identifiers, valid: make([]bool, len(want.Identifiers))})
	n := len(a.orders) - 1
	w.Header().Set("Location", fmt.Sprintf("%s/orders/%d", a.URL, n))
	a.tell(w, 201, a.status(n))
}

func (a *Authority) status(n int) map[string]any {
	o := a.orders[n]
	all := map[string]any{"status": "ready", "identifiers": o.names, "finalize": fmt.Sprintf("%s/finalize/%d", a.URL, n)}
	var urls []string
	for i, valid := range o.valid {
		urls = append(urls, fmt.Sprintf("%s/authz/%d/%d", a.URL, n, i))
		if !valid {
			all["status"] = "pending"
		}
	}
	if all["authorizations"] = urls; o.cert != nil {
		all["status"], all["certificate"] = "valid", fmt.Sprintf("%s/cert/%d", a.URL, n)
	}
	return all
}

func (a *Authority) authorization(w http.ResponseWriter, n, i int) {
	status := map[bool]string{true: "valid", false: "pending"}[a.orders[n].valid[i]]
	var list []map[string]string
	for _, kind := range []string{"http-01", "dns-01", "tls-alpn-01"} {
		list = append(list, map[string]string{
			"type": kind, "status": status, "token": fmt.Sprintf("token-%d-%d", n, i),
			"url": fmt.Sprintf("%s/prove/%d/%d/%s", a.URL, n, i, kind),
		})
	}
	a.tell(w, 200, map[string]any{"status": status, "identifier": a.orders[n].names[i], "challenges": list})
}

func (a *Authority) prove(w http.ResponseWriter, n, i int, kind string) {
	token := fmt.Sprintf("token-%d-%d", n, i)
	c := &Challenge{Kind: kind, Name: a.orders[n].names[i].Value, Token: token, Proof: token + "." + a.thumb}
	a.Unlock() // it may take a while
	err := a.Look(c)
	a.Lock()
	if err != nil {
		a.refuse(w, "unauthorized", err.Error())
		return
	}
	a.orders[n].valid[i] = true
	a.tell(w, 200, map[string]string{"type": kind, "status": "valid", "token": token})
}

func (a *Authority) finalize(w http.ResponseWriter, n int, payload []byte) {
	var what struct{ CSR string }
	_ = json.Unmarshal(payload, &what)
	der, _ := base64.RawURLEncoding.DecodeString(what.CSR)
	r, err := x509.ParseCertificateRequest(der)
	if err != nil || r.CheckSignature() != nil {
		a.refuse(w, "badCSR", "it cannot be read")
		return
	}
	now := time.Now()
	leaf := a.Sign(r, certtest.Leaf{From: now.Add(-time.Minute), Until: now.Add(a.Life)})
	a.orders[n].cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	w.Header().Set("Location", fmt.Sprintf("%s/orders/%d", a.URL, n))
	a.tell(w, 200, a.status(n))
}
