package cli

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"port53/internal/config"
	"port53/internal/tsig"
	"port53/internal/wire"
)

func newKey(s *streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Create TSIG keys for transfers and updates",
		Long: `A TSIG key (RFC 8945) is a secret that two servers, or a server and a client, share. It signs
transfers and updates.`,
		Example: "  port53 key new ddns",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newKeyNew(s))
	return cmd
}

// A newKeyOptions is what key new is told.
type newKeyOptions struct {
	config, output, algorithm, zone, server string
	asJSON                                  bool
}

func newKeyNew(s *streams) *cobra.Command {
	var o newKeyOptions
	cmd := &cobra.Command{
		Use:        "new NAME",
		SuggestFor: []string{"add", "create", "generate"}, // what other commands and servers call it
		Short:      "Create a key, and print each side's configuration",
		Long: `port53 key new writes a random key to a file readable only by its owner. If root runs this
command, the owner is the user that the configuration names. port53 key new then prints the lines
for port53.yaml, nsupdate, BIND, Knot, external-dns, cert-manager, lego, certbot and Kea. The file
can be named in the setting "secret_file" of the configuration, and given to nsupdate -k and
similar tools. An existing file is not overwritten.

Similar: tsig-keygen, ddns-confgen, keymgr -t.
Exit codes: 0 the key was written, 2 the key was not written.`,
		Example: `  port53 key new ddns
  port53 key new externaldns --zone example.com --server 192.0.2.53
  port53 key new xfr --algorithm hmac-sha512 --output /etc/port53/keys/xfr --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.newKey(args[0], o) },
	}
	configFlag(cmd, &o.config)
	cmd.Flags().
		StringVarP(&o.output, "output", "o", "", "the file to write (default: keys/NAME in the directory of the configuration "+
			"file, or in the current directory if there is no configuration file)")
	cmd.Flags().StringVar(&o.algorithm, "algorithm", "hmac-sha256", "hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512")
	cmd.Flags().StringVar(&o.zone, "zone", "example.com", "the zone in the printed examples")
	cmd.Flags().StringVar(&o.server, "server", "192.0.2.53", "the server's address in the printed examples")
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print JSON")
	return cmd
}

// A madeKey is what key new prints as JSON.
type madeKey struct {
	Name      string    `json:"name"`
	Algorithm string    `json:"algorithm"`
	Secret    string    `json:"secret"`
	File      string    `json:"file"`
	Snippets  []snippet `json:"snippets"`
}

// A snippet is how one program is told of a key.
type snippet struct {
	For  string `json:"for"`
	Text string `json:"text"`
}

func (s *streams) newKey(name string, o newKeyOptions) error {
	apex, err := wire.ParseName(name)
	if err != nil || strings.ContainsAny(name, "\"\\/ ") {
		return failure(exitUsage, "write a name such as ddns or ddns.example.com", "%q is not a valid key name", name)
	}
	name = strings.TrimSuffix(string(wire.AppendName(nil, wire.Lower(nil, apex))), ".")
	if name == "" {
		return failure(exitUsage, "write a name such as ddns", "a key has a name")
	}
	algorithm, ok := tsig.ParseAlgorithm(o.algorithm)
	if !ok {
		return failure(exitUsage, "write hmac-sha256, which everybody has", "--algorithm %s: not one that is offered", o.algorithm)
	}
	var who string
	path := o.output
	if c, _, err := config.LoadToServe(o.config); err == nil {
		who = c.User
	} else if exists(o.config) && os.Getuid() == 0 {
		fmt.Fprintf(s.err, "port53: %s has errors: the key is root's, and chown gives it to the server's user\n", o.config)
	}
	if path == "" {
		path = filepath.Join("keys", name)
		if exists(o.config) {
			path = filepath.Join(filepath.Dir(o.config), path)
		}
	}
	octets := make([]byte, algorithm.Size())
	if _, err := rand.Read(octets); err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	k := madeKey{Name: name, Algorithm: o.algorithm, Secret: base64.StdEncoding.EncodeToString(octets), File: path}
	if err := writeKey(k, who); err != nil {
		return err
	}
	k.Snippets = k.snippets(strings.TrimSuffix(o.zone, "."), o.server)
	if o.asJSON {
		return s.printJSON(k)
	}
	fmt.Fprintf(s.out, "%s: key %s, %s\n", k.File, k.Name, k.Algorithm)
	for _, p := range k.Snippets {
		fmt.Fprintf(s.out, "\n# %s\n%s\n", p.For, p.Text)
	}
	return nil
}

// writeKey writes a key into a new file that its owner alone can read; who is the user who
// serves, whom root gives it to, or empty.
func writeKey(k madeKey, who string) error {
	dir := filepath.Dir(k.File)
	made := !exists(dir)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	f, err := os.OpenFile(k.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return failure(exitUsage, "remove it, or choose another with --output", "%s is there already, and is not replaced", k.File)
	}
	if err != nil {
		return failure(exitUsage, "", "%v", err)
	}
	_, err = fmt.Fprintf(f, "key %q {\n\talgorithm %s;\n\tsecret %q;\n};\n", k.Name, k.Algorithm, k.Secret)
	if who != "" && os.Getuid() == 0 {
		err = errors.Join(err, give(f, who))
		if made {
			if d, openErr := os.Open(dir); openErr == nil {
				err = errors.Join(err, give(d, who))
				d.Close()
			}
		}
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		os.Remove(k.File)
		return failure(exitUsage, "", "%v", err)
	}
	return nil
}

// give makes a file a user's.
func give(f *os.File, who string) error {
	u, err := user.Lookup(who)
	if err != nil {
		return err
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return err
	}
	return f.Chown(uid, gid)
}

// snippets returns how each program is told of the key.
func (k *madeKey) snippets(zone, server string) []snippet {
	algorithm := ""
	if k.Algorithm != "hmac-sha256" {
		algorithm = ", algorithm: " + k.Algorithm
	}
	path, err := filepath.Abs(k.File)
	if err != nil {
		path = k.File
	}
	fill := strings.NewReplacer(
		"<KEY>",
		k.Name,
		"<ALGORITHM>",
		k.Algorithm,
		"<SECRET>",
		k.Secret,
		"<FILE>",
		path,
		"<ZONE>",
		zone,
		"<SERVER>",
		server,
		"<SHA>",
		strings.ToUpper(strings.ReplaceAll(k.Algorithm, "-", "")),
		"<UPPER>",
		strings.ToUpper(k.Algorithm),
		"<MORE>",
		algorithm,
	)
	list := []snippet{
		{"port53.yaml: updates by this key, and transfers for external-dns", `keys: [{name: <KEY>, secret_file: <FILE><MORE>}]
zones:
  - name: <ZONE>
    file: <ZONE>.zone
    updates: [{key: <KEY>, names: ["*"]}]
    allow_transfer: [{key: <KEY>}]`},
		{"nsupdate", `printf 'server <SERVER>\nzone <ZONE>\nupdate add test.<ZONE> 60 A 192.0.2.1\nsend\n' | nsupdate -k <FILE>`},
		{"knsupdate, kdig, dig: -y takes", `<ALGORITHM>:<KEY>:<SECRET>`},
		{"BIND: named.conf, as a secondary of <ZONE>", `key "<KEY>" { algorithm <ALGORITHM>; secret "<SECRET>"; };
server <SERVER> { keys { "<KEY>"; }; };
zone "<ZONE>" { type secondary; primaries { <SERVER> key "<KEY>"; }; file "<ZONE>.db"; };`},
		{"Knot: knot.conf, as a secondary of <ZONE>", `key:
  - {id: <KEY>, algorithm: <ALGORITHM>, secret: <SECRET>}
remote:
  - {id: port53, address: <SERVER>, key: <KEY>}
zone:
  - {domain: <ZONE>, master: port53}`},
		{"external-dns", `--provider=rfc2136 --rfc2136-host=<SERVER> --rfc2136-port=53 --rfc2136-zone=<ZONE> --rfc2136-tsig-axfr
--rfc2136-tsig-keyname=<KEY> --rfc2136-tsig-secret-alg=<ALGORITHM> --rfc2136-tsig-secret=<SECRET>`},
		{"cert-manager: an Issuer's solver; kubectl create secret generic <KEY> --from-literal=secret=<SECRET>", `dns01:
  rfc2136:
    nameserver: <SERVER>:53
    tsigKeyName: <KEY>
    tsigAlgorithm: <SHA>
    tsigSecretSecretRef: {name: <KEY>, key: secret}`},
		{"lego", `RFC2136_NAMESERVER=<SERVER>:53 RFC2136_TSIG_KEY=<KEY>. RFC2136_TSIG_ALGORITHM=<ALGORITHM>. RFC2136_TSIG_SECRET=<SECRET> \
  lego run --dns rfc2136 --domains <ZONE> --email you@<ZONE>     # before version 5: lego --dns … run`},
		{"certbot: the file of --dns-rfc2136-credentials", `dns_rfc2136_server = <SERVER>
dns_rfc2136_name = <KEY>
dns_rfc2136_secret = <SECRET>
dns_rfc2136_algorithm = <UPPER>`},
		{"Kea: kea-dhcp-ddns.conf", `"tsig-keys": [{"name": "<KEY>", "algorithm": "<UPPER>", "secret": "<SECRET>"}],
"forward-ddns": {"ddns-domains": [{"name": "<ZONE>.", "key-name": "<KEY>", "dns-servers": [{"ip-address": "<SERVER>", "port": 53}]}]}`},
	}
	for i := range list {
		list[i].For, list[i].Text = fill.Replace(list[i].For), fill.Replace(list[i].Text)
	}
	return list
}
