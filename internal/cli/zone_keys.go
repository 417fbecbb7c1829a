package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/console"
	"port53/internal/dnssec"
	"port53/internal/signer"
	"port53/internal/wire"
)

func newZoneKeys(s *streams) *cobra.Command {
	var dir, at, file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "keys [--config FILE | --socket PATH | --dir DIR] ZONE",
		Short: "Show a zone's DNSSEC keys and their states; roll, create and import keys",
		Long: `port53 zone keys shows the keys of a zone that the running server signs: the tag, algorithm and
purpose of each key, and the state of its DNSKEY record, signatures and DS record in resolvers'
caches (hidden, rumoured, omnipresent or unretentive). port53 zone keys also shows what the next
step of a rollover waits for, and which DS records the parent zone has.

With --dir, port53 zone keys lists the key files of a directory, without a server. For each key it
shows whether the key is published and signs now, according to the times in the key's files. The
files are in BIND's format: K*.key with the DNSKEY record and K*.private with the private key and
its times.

Similar: rndc dnssec -status, dnssec-settime -p, keymgr ZONE list.
Exit codes: 0 the keys are listed, 1 the server refused, or files cannot be used, 2 no
server or no directory.`,
		Example: `  port53 zone keys example.com
  port53 zone keys roll example.com
  port53 zone keys --dir keys example.com
  port53 zone keys new --dir keys example.com
  port53 zone keys import --dir keys example.com /var/cache/bind`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dir == "" {
				name, err := zoneQuery(args[0], view)
				if err != nil {
					return failure(exitUsage, "", "zone %s: %v", args[0], err)
				}
				var st app.KeysStatus
				if err := call(cmd.Context(), file, socket, "GET", "/zone/keys"+name, &st); err != nil {
					return err
				}
				return s.printKeys(&st, asJSON)
			}
			now, err := timeFlag(at)
			if err != nil {
				return err
			}
			return s.listKeys(args[0], dir, now, asJSON)
		},
	}
	socketFlags(cmd, &file, &socket)
	viewFlag(cmd, &view)
	cmd.Flags().StringVarP(&dir, "dir", "K", "", "the directory of the key files, instead of asking the server")
	cmd.Flags().StringVar(&at, "at", "", "with --dir: the time to show states for (RFC 3339; default now)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.AddCommand(newZoneKeysRoll(s), newZoneKeysLook(s), newZoneKeysNew(s), newZoneKeysImport(s))
	return cmd
}

// printKeys prints what the server says of a zone's keys.
func (s *streams) printKeys(st *app.KeysStatus, asJSON bool) error {
	if asJSON {
		return s.printJSON(st)
	}
	fmt.Fprintf(s.out, "zone %s: %s\n", st.Zone, st.State)
	fmt.Fprintf(s.out, "%5s  %-15s  %-4s  %-8s  %-11s  %-11s  %-11s\n", "tag", "algorithm", "kind", "goal", "dnskey", "signatures", "ds")
	for _, k := range st.Keys {
		ds := k.DS.State.String()
		if k.Kind == "ZSK" {
			ds = "-"
		}
		fmt.Fprintf(
			s.out,
			"%5d  %-15s  %-4s  %-8s  %-11s  %-11s  %-11s\n",
			k.Tag,
			k.Algorithm,
			k.Kind,
			k.Goal,
			k.DNSKEY.State,
			k.Signatures.State,
			ds,
		)
	}
	for _, w := range st.Waits {
		fmt.Fprintln(s.out, w)
	}
	if !st.Next.IsZero() {
		fmt.Fprintf(s.out, "next step: %s\n", st.Next.UTC().Format(time.RFC3339))
	}
	for _, d := range st.Wanted {
		fmt.Fprintf(s.out, "the parent is to have: %s\n", d)
	}
	for i := range st.Parent {
		p := &st.Parent[i]
		switch {
		case p.Error != "":
			fmt.Fprintf(s.out, "parent server %s: %s\n", p.Server, p.Error)
		case len(p.DS) == 0:
			fmt.Fprintf(s.out, "parent server %s: no DS records\n", p.Server)
		}
		for _, d := range p.DS {
			fmt.Fprintf(s.out, "parent server %s: %s\n", p.Server, wire.AppendRdataText(nil, wire.TypeDS, d))
		}
	}
	for i := range st.Servers {
		if z := &st.Servers[i]; z.Error != "" {
			fmt.Fprintf(s.out, "server %s: %s\n", z.Server, z.Error)
		}
	}
	return nil
}

// changeKeys has the server do something with a zone's keys, and prints how they are then.
func (s *streams) changeKeys(ctx context.Context, file, socket, zone, view string, c app.KeysCommand, asJSON bool) error {
	name, err := zoneQuery(zone, view)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", zone, err)
	}
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var st app.KeysStatus
	if err := reach(ctx, file, socket, func(ctx context.Context, at string) error {
		return console.Send(ctx, at, "/zone/keys"+name, bytes.NewReader(body), &st)
	}); err != nil {
		return err
	}
	return s.printKeys(&st, asJSON)
}

func newZoneKeysRoll(s *streams) *cobra.Command {
	var file, socket, view string
	c := app.KeysCommand{Action: "roll"}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "roll [--ksk | --zsk | --key TAG | --algorithm NAME] ZONE",
		Short: "Roll the keys of a signed zone",
		Long: `port53 zone keys roll replaces keys with new ones, step by step. Each step is taken once all
servers of the zone and of its parent have been seen to serve the records of the previous step,
and once the records that the previous step replaced have expired from caches.
Without --ksk, --zsk or --key all keys are rolled. --algorithm replaces all keys with keys of that
algorithm, and excludes --ksk, --zsk and --key.

Rolling a KSK or CSK needs new DS records in the parent zone: "port53 zone keys ZONE" says when,
and "port53 zone ds --config FILE ZONE" prints them. Parents that read CDS records, or accept
updates, get the new DS records automatically.

If a key is compromised, roll it with --force: --force does not wait for a rollover in progress.
Even with --force the steps take their full time, so that nobody is cut off.

Similar: rndc dnssec -rollover, keymgr ZONE rollover.
Exit codes: 0 the rollover has begun, 1 refused, 2 no server was reached.`,
		Example: `  port53 zone keys roll example.com
  port53 zone keys roll --zsk example.com
  port53 zone keys roll --algorithm ed25519 example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.changeKeys(cmd.Context(), file, socket, args[0], view, c, asJSON)
		},
	}
	socketFlags(cmd, &file, &socket)
	viewFlag(cmd, &view)
	cmd.Flags().BoolVar(&c.KSK, "ksk", false, "roll the keys with the SEP flag")
	cmd.Flags().BoolVar(&c.ZSK, "zsk", false, "roll the keys without the SEP flag")
	cmd.Flags().Uint16Var(&c.Tag, "key", 0, "roll the key with this tag")
	cmd.Flags().StringVar(&c.Algorithm, "algorithm", "", "the algorithm of the new keys")
	cmd.Flags().BoolVar(&c.Force, "force", false, "roll even if a key of that kind is already being rolled")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("key", "ksk")
	cmd.MarkFlagsMutuallyExclusive("key", "zsk")
	for _, some := range []string{"ksk", "zsk", "key"} {
		cmd.MarkFlagsMutuallyExclusive("algorithm", some) // one algorithm signs all of a zone
	}
	return cmd
}

func newZoneKeysLook(s *streams) *cobra.Command {
	var file, socket, view string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "look ZONE",
		Short: "Check the zone's and its parent's servers now",
		Long: `For a zone that the server signs, port53 zone keys look makes the server ask all servers of the
zone and of the parent zone which of the zone's keys and DS records they have. The server then
takes the next step of a rollover if possible. The server also asks by itself: every ten minutes
during a rollover, otherwise every six hours.

Similar: rndc dnssec -checkds, except that you need not say what the parent has.
Exit codes: 0 the servers were asked, 1 refused, 2 no server was reached.`,
		Example: "  port53 zone keys look example.com",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.changeKeys(cmd.Context(), file, socket, args[0], view, app.KeysCommand{Action: "look"}, asJSON)
		},
	}
	socketFlags(cmd, &file, &socket)
	viewFlag(cmd, &view)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// A listedKey is a key as zone keys prints it.
type listedKey struct {
	Tag       uint16            `json:"tag"`
	Algorithm string            `json:"algorithm"`
	Flags     uint16            `json:"flags"`
	Kind      string            `json:"kind"` // KSK or ZSK by its SEP flag, CSK if it signs all
	Private   bool              `json:"private"`
	Published bool              `json:"published"`
	Signs     bool              `json:"signs"`
	Revoked   bool              `json:"revoked,omitempty"`
	File      string            `json:"file"`
	URI       string            `json:"uri,omitempty"` // of the private key, in a token
	Times     map[string]string `json:"times,omitempty"`
}

// listed returns keys as they are printed.
func listed(keys []*signer.Key, now time.Time) []listedKey {
	list := make([]listedKey, len(keys))
	for i, k := range keys {
		list[i] = listedKey{
			Tag:       k.Tag(),
			Algorithm: wire.AlgorithmName(k.Algorithm()),
			Flags:     k.Flags(),
			Kind:      signer.Kind(k, keys, now),
			Private:   k.Private != nil,
			Published: k.Published(
				now,
			),
			Signs:   k.Published(now) && k.Active(now),
			Revoked: k.Revoked(now),
			File:    k.File,
			URI:     k.URI,
			Times:   map[string]string{},
		}
		for name, t := range k.Times.Named() {
			list[i].Times[strings.ToLower(name)] = t.UTC().Format(time.RFC3339)
		}
	}
	return list
}

func (s *streams) listKeys(name, dir string, now time.Time, asJSON bool) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", name, err)
	}
	keys, err := s.zoneKeys(dir, wire.Lower(nil, apex))
	if err != nil {
		return err
	}
	list := listed(keys, now)
	if asJSON {
		return s.printJSON(list)
	}
	for _, k := range list {
		state := "not published"
		switch {
		case k.Revoked && k.Published:
			state = "revoked"
		case k.Signs:
			state = "signs"
		case k.Published && !k.Private:
			state = "published, no private key"
		case k.Published:
			state = "published"
		}
		fmt.Fprintf(s.out, "%5d  %-15s  %s  %-13s  %s\n", k.Tag, k.Algorithm, k.Kind, state, strings.TrimSpace(k.File+"  "+k.URI))
	}
	if len(list) == 0 {
		fmt.Fprintf(s.err, "port53: no keys of %s in %s\n", nameText(apex), dir)
	}
	return nil
}

// A newKeysFlags is what zone keys new is told.
type newKeysFlags struct {
	dir, algorithm string
	store, config  string
	split, asJSON  bool
}

func newZoneKeysNew(s *streams) *cobra.Command {
	var f newKeysFlags
	cmd := &cobra.Command{
		Use:   "new [--dir DIR] ZONE",
		Short: "Create a zone's keys",
		Long: `port53 zone keys new creates a key that signs the whole zone (CSK), or with --split one key for
the keys (KSK) and one for the data (ZSK), and writes them to a directory: K*.key and K*.private,
readable only by the owner. According to the times in the files, the keys are published and active
from now on: port53 zone sign uses them at once. No two keys of a zone get the same tag. The DS
record for the parent is printed.

--store creates the keys in a key store of the configuration, a PKCS#11 token. The private key
never leaves the token: K*.private has only the key's URI.

Similar: dnssec-keygen, keymgr ZONE generate.
Exit codes: 0 the keys were written, 2 the keys were not written.`,
		Example: `  port53 zone keys new --dir keys example.com
  port53 zone keys new --dir keys --split --algorithm ed25519 example.com
  port53 zone keys new --dir keys --store hsm --config /etc/port53/port53.yaml example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return s.newKeys(args[0], f) },
	}
	cmd.Flags().StringVarP(&f.dir, "dir", "K", ".", "the directory to write to")
	cmd.Flags().StringVar(&f.algorithm, "algorithm", "ecdsap256sha256", "ecdsap256sha256, ed25519, ecdsap384sha384 or rsasha256")
	cmd.Flags().StringVar(&f.store, "store", "", "create them in this key store of the configuration")
	configFlag(cmd, &f.config)
	cmd.Flags().BoolVar(&f.split, "split", false, "make a KSK and a ZSK")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
	return cmd
}

func (s *streams) newKeys(name string, f newKeysFlags) error {
	apex, err := wire.ParseName(name)
	if err != nil {
		return failure(exitUsage, "", "zone %s: %v", name, err)
	}
	alg, ok := wire.ParseAlgorithm(f.algorithm)
	if !ok || !signer.CanSign(alg) || alg == dnssec.RSASHA512 {
		return failure(
			exitUsage,
			"write ecdsap256sha256, which every validator knows",
			"--algorithm %s: not one that keys are made for",
			f.algorithm,
		)
	}
	// Nobody but the owner looks into a directory of keys: read it as far as there is one.
	others, _, err := signer.ReadKeys(f.dir, apex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failure(exitUsage, "", "%s: %v", f.dir, pathCause(err))
	}
	kinds := []bool{true}
	if f.split {
		kinds = []bool{true, false}
	}
	stage := signer.Stage{Zone: wire.Lower(nil, apex), Dir: f.dir, Policy: signer.StagePolicy{KSKStore: f.store, ZSKStore: f.store}}
	if f.store != "" {
		if stage.Tokens, err = keyStores(f.config); err != nil {
			return err
		}
	}
	now := time.Now()
	var made []*signer.Key
	for _, sep := range kinds {
		k, err := stage.NewKey(alg, sep, now, others)
		if err != nil {
			return failure(exitUsage, "", "%v", err)
		}
		others, made = append(others, k), append(made, k)
	}
	return s.printMade(made, now, f.asJSON)
}

// printMade prints keys that are new in a directory, and what the parent is to be told.
func (s *streams) printMade(made []*signer.Key, now time.Time, asJSON bool) error {
	if asJSON {
		return s.printJSON(listed(made, now))
	}
	for _, k := range made {
		fmt.Fprintf(s.out, "%s: key %d, %s, %s\n", k.File, k.Tag(), wire.AlgorithmName(k.Algorithm()), signer.Kind(k, made, now))
	}
	for _, k := range made {
		if k.SEP() {
			ds, _ := k.DS(dnssec.DigestSHA256)
			fmt.Fprint(s.out, dsLine(k.Zone, wire.TypeDS, ds))
		}
	}
	return nil
}

// dsLine is a record that is printed without a TTL.
func dsLine(zone []byte, t wire.Type, data []byte) string {
	return fmt.Sprintf("%s IN %s %s\n", nameText(zone), t, wire.AppendRdataText(nil, t, data))
}
