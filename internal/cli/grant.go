package cli

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/certs"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/grant"
)

func newGrant(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "grant",
		Short: "Manage who may read and change zones: API tokens, update keys, client certificates",
		Long: `A grant covers zones, names, record types and verbs: read, change, notify, sign (manage the zone's
DNSSEC keys), admin. Its holder presents a token to the API, signs updates and transfers with a
TSIG key, or presents a client certificate over TLS, both at the API and for updates and
transfers. Grants created with port53 grant add are in state_dir; others are in the configuration,
under "tokens", "keys" and "client_certificates".`,
		Example: `  port53 grant add externaldns --zone example.com --for external-dns
  port53 grant list
  port53 grant revoke externaldns`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGrantAdd(s), newGrantList(s), newGrantRevoke(s), newGrantNew(s))
	return cmd
}

// A holding is a key, a token or a client certificate, as the server tells of it.
type holding struct {
	Name      string                `json:"name"`
	Kind      string                `json:"kind"`
	Place     string                `json:"configured_at,omitempty"`
	Made      time.Time             `json:"made,omitzero"`
	Grants    []config.GrantedRight `json:"grants"`
	Algorithm string                `json:"algorithm,omitempty"`
	Secret    string                `json:"secret,omitempty"`
	Hostname  string                `json:"hostname,omitempty"`
	CA        string                `json:"ca,omitempty"`
	Pins      []string              `json:"pins,omitempty"`
	Snippet   string                `json:"snippet,omitempty"`
}

// A client is a program that changes zones: what it needs, and how it is told of its secret.
type client struct {
	name  string
	kind  string // token, key or certificate
	names []string
	types []string
	verbs []string
	text  string // <NAME>, <SECRET>, <ZONE>, <SERVER>, <URL> and <ALGORITHM> are filled in
}

// clients returns the programs that grant add knows.
//
// In one piece: it is a table.
func clients() []client {
	hosts, acme := []string{"A", "AAAA", "CNAME", "TXT"}, []string{"_acme-challenge.*"}
	all, both := []string{"*"}, []string{"read", "change"}
	return []client{
		{"curl", "token", all, nil, both, `curl -H "X-API-Key: <SECRET>" <URL>/api/v1/servers/localhost/zones/<ZONE>.`},
		{
			"external-dns",
			"token",
			all,
			hosts,
			both,
			`--provider=pdns --pdns-server=<URL> --pdns-server-id=localhost --pdns-api-key=<SECRET> --domain-filter=<ZONE>`,
		},
		{
			"cert-manager",
			"key",
			acme,
			[]string{"TXT"},
			[]string{"change"},
			`kubectl -n cert-manager create secret generic <NAME> --from-literal=secret=<SECRET>
# in the Issuer:
solvers:
  - selector: {dnsZones: [<ZONE>]}
    dns01:
      rfc2136:
        nameserver: <SERVER>:53
        tsigKeyName: <NAME>
        tsigAlgorithm: <SHA>
        tsigSecretSecretRef: {name: <NAME>, key: secret}`,
		},
		{
			"lego",
			"token",
			acme,
			[]string{"TXT"},
			[]string{"read", "change", "notify"},
			`PDNS_API_URL=<URL> PDNS_API_KEY=<SECRET> lego run --dns pdns --domains <ZONE> --email you@<ZONE>`,
		},
		{"octodns", "token", all, nil, both, `providers:
  port53:
    class: octodns_powerdns.PowerDnsProvider
    host: <HOST>
    port: <PORT>
    scheme: <SCHEME>
    api_key: <SECRET>`},
		{"dnscontrol", "token", all, nil, both, `creds.json:
{"port53": {"TYPE": "POWERDNS", "apiUrl": "<URL>", "apiKey": "<SECRET>", "serverName": "localhost"}}
dnsconfig.js:
D("<ZONE>", NewRegistrar("none"), DnsProvider(NewDnsProvider("port53")), A("www", "192.0.2.1"));`},
		{"certbot", "key", acme, []string{"TXT"}, []string{"change"}, `the file of --dns-rfc2136-credentials:
dns_rfc2136_server = <SERVER>
dns_rfc2136_name = <NAME>
dns_rfc2136_secret = <SECRET>
dns_rfc2136_algorithm = <UPPER>`},
		{
			"nsupdate",
			"key",
			all,
			nil,
			[]string{"read", "change"},
			`printf 'server <SERVER>\nzone <ZONE>\nupdate add test.<ZONE> 60 A 192.0.2.1\nsend\n' | ` +
				`nsupdate -y <ALGORITHM>:<NAME>:<SECRET>`,
		},
		{
			"kdig",
			"certificate",
			all,
			nil,
			both,
			`kdig @<SERVER> +tls-ca=SERVER-CA.pem +tls-certfile=<CERT> +tls-keyfile=KEY.pem <ZONE> AXFR`,
		},
		{
			"knsupdate",
			"certificate",
			all,
			nil,
			both,
			`printf 'server <SERVER> 853\nzone <ZONE>\nupdate add test.<ZONE> 60 A 192.0.2.1\nsend\n' | ` +
				`knsupdate --tls --hostname SERVER-NAME --certfile <CERT> --keyfile KEY.pem`,
		},
		{"knot", "certificate", all, nil, []string{"read"}, `knot.conf of the secondary:
server:
  cert-file: <CERT>
  key-file: KEY.pem
remote:
  - {id: <NAME>, address: <SERVER>@853, tls: on, cert-key: PIN-OF-THE-SERVER}
zone:
  - {domain: <ZONE>, master: <NAME>}`},
		{"bind", "certificate", all, nil, []string{"read"}, `named.conf of the secondary:
tls "<NAME>" { cert-file "<CERT>"; key-file "KEY.pem"; ca-file "SERVER-CA.pem"; remote-hostname "SERVER-NAME"; };
zone "<ZONE>" { type secondary; primaries { <SERVER> port 853 tls "<NAME>"; }; file "<ZONE>.db"; };`},
	}
}

func clientNames() (names []string) {
	for _, c := range clients() {
		names = append(names, c.name)
	}
	return names
}

// snippet returns how the client is told of a secret.
func (c *client) snippet(h *holding, o *grantOptions) (string, error) {
	server, api := o.server, o.api
	u, err := url.Parse(api)
	if err != nil || u.Host == "" {
		return "", failure(exitUsage, "write it as http://127.0.0.1:8053", "--api %s: no URL", api)
	}
	zone := "example.com"
	if z := h.Grants[0].Zones; len(z) > 0 && !strings.Contains(z[0], "*") {
		zone = strings.TrimSuffix(z[0], ".")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return strings.NewReplacer("<CERT>", o.certName(), "<NAME>", h.Name, "<SECRET>", h.Secret, "<ZONE>", zone, "<SERVER>", server, "<URL>",
			strings.TrimSuffix(api, "/"),
			"<HOST>", u.Hostname(), "<PORT>", port, "<SCHEME>", u.Scheme, "<ALGORITHM>", h.Algorithm,
			"<SHA>", strings.ToUpper(strings.ReplaceAll(h.Algorithm, "-", "")), "<UPPER>", strings.ToUpper(h.Algorithm)).
			Replace(c.text),
		nil
}

// A grantOptions is what grant add is told.
type grantOptions struct {
	file, socket       string
	client             string
	key, asJSON        bool
	cert               string
	pins               []string
	right              config.GrantedRight
	server, api, signs string
}

// certName is the file of the certificate in examples.
func (o *grantOptions) certName() string {
	if o.cert == "" {
		return "CERT.pem"
	}
	return o.cert
}

// pinned returns the pins of the certificate that is meant: of its file, and those that are written.
func (o *grantOptions) pinned(now time.Time) ([]string, error) {
	pins := slices.Clone(o.pins)
	for _, text := range pins {
		if _, err := certs.ParsePin(text); err != nil {
			return nil, failure(exitUsage, "it is what port53 grant new --cert FILE prints", "--pin: %v", err)
		}
	}
	if o.cert == "" {
		return pins, nil
	}
	pin, leaf, err := certs.ReadPin(o.cert)
	switch {
	case err != nil:
		return nil, failure(exitUsage, "it is the client's certificate in PEM", "--cert: %v", err)
	case now.After(leaf.NotAfter):
		return nil, failure(exitUsage, "renew it", "--cert %s: it has expired on %s", o.cert, leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	return append(pins, pin.String()), nil
}

func newGrantAdd(s *streams) *cobra.Command {
	var o grantOptions
	cmd := &cobra.Command{
		Use:   "add NAME --zone ZONE… [--for CLIENT]",
		Short: "Create a token or key, or admit a client certificate, and print the configuration for the client program",
		Long: `port53 grant add creates an API token, or a key for updates and transfers. The token or key takes
effect at once and survives restarts. The secret is printed only this once; the server stores a
token as a hash. With --cert or --pin no secret is created: the server recognizes the holder of
that client certificate by the public key, at the API and on DNS-over-TLS and DNS-over-QUIC
connections. --for says which client program the grant is for: the grant gets the rights that this
program needs, unless other flags say otherwise, and the lines for the program's configuration are
printed.

Without --for, the new grant allows read and change for all names and types in the zones, unless
--verb, --name or --type says otherwise.
Exit codes: 0 created, 1 refused, 2 no server was reached.`,
		Example: `  port53 grant add externaldns --zone example.com --for external-dns
  port53 grant add acme --zone example.com --zone example.net --for cert-manager
  port53 grant add audit --zone "*" --verb read --until 2027-01-31
  port53 grant add admin --zone "*" --verb admin
  port53 grant add ns2 --zone example.com --verb read --cert ns2.pem`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return s.addGrant(cmd, args[0], o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.client, "for", "", "the client: "+strings.Join(clientNames(), ", "))
	f.StringSliceVar(&o.right.Zones, "zone", nil, `a zone, *.name for all below it, or "*" for all; may be repeated`)
	f.StringSliceVar(&o.right.Names, "name", nil,
		"names in the zones: a name, *.name for all below it, label.* for all that begin with that label, "+
			"@ for the zone's own name, or * for all; may be repeated (default *)")
	f.StringSliceVar(&o.right.Types, "type", nil, "record types; may be repeated (default all)")
	f.StringSliceVar(&o.right.Verbs, "verb", nil, strings.Join(grant.VerbNames(), ", ")+"; may be repeated (default read, change)")
	f.StringVar(&o.right.Until, "until", "", "the last day of the grant, such as 2027-01-31, or the time when the grant expires")
	f.BoolVar(&o.key, "key", false, "create a key for updates and transfers, not an API token")
	f.StringVar(&o.cert, "cert", "", "admit the holder of the client certificate in this PEM file")
	f.StringSliceVar(&o.pins, "pin", nil, "admit the holder of the public key with this SHA-256 digest, in base64; may be repeated")
	f.StringVar(&o.signs, "algorithm", "hmac-sha256", "the key's algorithm: hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512")
	f.StringVar(&o.server, "server", "192.0.2.53", "the server's address in the printed examples")
	f.StringVar(&o.api, "api", "http://127.0.0.1:8053", "the API's URL in the printed examples")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("key", "cert")
	cmd.MarkFlagsMutuallyExclusive("key", "pin")
	socketFlags(cmd, &o.file, &o.socket)
	return cmd
}

func (s *streams) addGrant(cmd *cobra.Command, name string, o grantOptions) error {
	all := clients()
	pins, err := o.pinned(time.Now())
	if err != nil {
		return err
	}
	named := func(name string) int { return slices.IndexFunc(all, func(c client) bool { return c.name == name }) }
	i := named(o.client)
	switch {
	case o.client == "":
		switch i = 0; {
		case o.key:
			i = named("nsupdate")
		case len(pins) > 0:
			i = named("kdig")
		}
	case i < 0:
		return failure(exitUsage, "it is one of "+strings.Join(clientNames(), ", "), "--for %s: not known", o.client)
	}
	c := &all[i]
	if byCertificate := c.kind == "certificate"; byCertificate != (len(pins) > 0) {
		if byCertificate {
			return failure(exitUsage, "write --cert FILE, or --pin PIN", "--for %s: it presents a client certificate", o.client)
		}
		return failure(exitUsage, "leave out --for, or --cert and --pin", "--for %s: it presents no client certificate", o.client)
	}
	if len(o.right.Zones) == 0 {
		return failure(exitUsage, `write --zone example.com, or --zone "*" for all zones`, "--zone is missing")
	}
	for to, usual := range map[*[]string][]string{&o.right.Names: c.names, &o.right.Types: c.types, &o.right.Verbs: c.verbs} {
		if len(*to) == 0 {
			*to = usual
		}
	}
	if slices.Contains(o.right.Verbs, "admin") && !cmd.Flags().Changed("type") {
		o.right.Types = nil
	}
	h := holding{Name: name, Kind: c.kind, Pins: pins, Grants: []config.GrantedRight{o.right}}
	if h.Kind == "key" {
		h.Algorithm = o.signs
	}
	if _, err := c.snippet(&h, &o); err != nil {
		return err // before anything is made
	}
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	err = reach(cmd.Context(), o.file, o.socket, func(ctx context.Context, at string) error {
		return console.Send(ctx, at, "/grant/add", bytes.NewReader(body), &h)
	})
	if err != nil {
		return err
	}
	if h.Snippet, err = c.snippet(&h, &o); err != nil {
		return err
	}
	if o.asJSON {
		return s.printJSON(h)
	}
	if h.Kind == "certificate" {
		fmt.Fprintf(s.out, "%s %s: %s\n\n# %s\n%s\n", h.Kind, h.Name, strings.Join(h.Pins, ", "), c.name, h.Snippet)
		return nil
	}
	fmt.Fprintf(s.out, "%s %s: %s\n# it is not shown again\n\n# %s\n%s\n", h.Kind, h.Name, h.Secret, c.name, h.Snippet)
	return nil
}

func newGrantList(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List grants and their holders",
		Long: `port53 grant list prints the server's tokens, keys and client certificates, from the configuration
and from port53 grant add, one line per grant. Secrets are not printed.
Exit codes: 0 printed, 2 no server was reached.`,
		Example: "  port53 grant list\n  port53 grant list --json | jq '.[] | select(.kind == \"token\").name'",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []holding
			if err := call(cmd.Context(), file, socket, "GET", "/grant", &list); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(list)
			}
			for _, h := range list {
				if len(h.Grants) == 0 {
					fmt.Fprintf(s.out, "%s %s%s: no grants of its own (%s)\n", h.Kind, h.Name, h.known(), h.Place)
				}
				for _, g := range h.Grants {
					fmt.Fprintf(s.out, "%s %s%s: %s\n", h.Kind, h.Name, h.known(), describeGrant(g, h.Place))
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	socketFlags(cmd, &file, &socket)
	return cmd
}

// known says by what a certificate is known.
func (h *holding) known() (text string) {
	if h.Hostname != "" {
		text += " for " + h.Hostname
	}
	if h.CA != "" {
		text += " by " + h.CA
	}
	if len(h.Pins) > 0 {
		text += " with pin " + strings.Join(h.Pins, ",")
	}
	return text
}

// describeGrant returns a grant in one line.
func describeGrant(g config.GrantedRight, place string) string {
	types := "all types"
	if len(g.Types) > 0 {
		types = strings.Join(g.Types, ",")
	}
	text := fmt.Sprintf("%s %s of %s in %s", strings.Join(g.Verbs, ","), types, strings.Join(g.Names, ","), strings.Join(g.Zones, ","))
	if g.Until != "" {
		text += " until " + g.Until
	}
	return text + " (" + place + ")"
}

func newGrantRevoke(s *streams) *cobra.Command {
	var file, socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Revoke a token, key or certificate added by grant add",
		Long: `port53 grant revoke removes a token, a key or a client certificate, at once and for good.
Connections that are already open lose their access, too. To revoke a token, key or certificate
that is in the configuration, delete it there and reload.

Before you revoke the last grant that lets anybody change a zone, write the zone's changes to
its file with port53 zone sync: a zone that nobody may change has no journal. From the next restart on, or
once the zone file has a newer serial, changes that are not in the file are lost.
Exit codes: 0 revoked, 1 refused, 2 no server was reached.`,
		Example: "  port53 grant revoke externaldns",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var h holding
			if err := call(cmd.Context(), file, socket, "POST", "/grant/revoke?name="+url.QueryEscape(args[0]), &h); err != nil {
				return err
			}
			if asJSON {
				return s.printJSON(h)
			}
			fmt.Fprintf(s.out, "revoked: %s %s\n", h.Kind, args[0])
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	socketFlags(cmd, &file, &socket)
	return cmd
}

func newGrantNew(s *streams) *cobra.Command {
	var asJSON bool
	var o grantOptions
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Print a new token and its hash, or a certificate's pin, for the configuration",
		Long: `port53 grant new prints a token of 256 random bits, and its hash, to be put under "tokens" in the
configuration; with --cert, port53 grant new prints the pin of a client certificate instead, to be
put under "client_certificates". No server is contacted.`,
		Example: "  port53 grant new\n  port53 grant new --cert ns2.pem",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if pins, err := o.pinned(time.Now()); err != nil {
				return err
			} else if len(pins) > 0 && asJSON {
				return s.printJSON(map[string]string{"pin": pins[0]})
			} else if len(pins) > 0 {
				fmt.Fprintf(s.out, "%s\n\n# port53.yaml\nclient_certificates: [{name: NAME, pins: %q, grants: [{zone: example.com}]}]\n",
					pins[0], pins[0])
				return nil
			}
			token := grant.NewToken()
			sum := grant.Hash(token)
			if asJSON {
				return s.printJSON(map[string]string{"token": token, "hash": hex.EncodeToString(sum[:])})
			}
			fmt.Fprintf(s.out, "%s\n\n# port53.yaml\ntokens: [{name: NAME, hash: %x, grants: [{zone: example.com}]}]\n", token, sum)
			return nil
		},
	}
	cmd.Flags().StringVar(&o.cert, "cert", "", "a client certificate in PEM, whose pin is printed")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
