package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"port53/internal/app"
	"port53/internal/config"
	"port53/internal/console"
	"port53/internal/firewall"
	"port53/internal/fwrun"
	"port53/internal/netif"
	"port53/internal/proof"
	"port53/internal/server"
)

// roleNone is the role of a machine on which nobody is to answer.
const roleNone = "none"

// A prover is what the flags of prove say.
type prover struct {
	file, socket, role string
	watch, asJSON, all bool
	timeout            time.Duration
	parent             bool // standard input ends with whoever started this
}

func newProve(s *streams) *cobra.Command {
	var p prover
	cmd := &cobra.Command{
		Use:   "prove [--config FILE | --role none]",
		Short: "Prove that the running server allows exactly what its configuration permits",
		Long: `port53 prove sends packets to the running server to test that the clients permitted by its
configuration, and no others, can query, use recursion, transfer, update, send NOTIFY, use the API
and read the metrics. What the configuration permits, within the limits of "expose", is called the
contract: see "expose" in docs/CONFIG.md. port53 prove tests from this machine, and through a
temporary network namespace from foreign addresses: over UDP and TCP, over TLS and HTTPS if the
server offers them, and over both IPv4 and IPv6.

port53 prove sends queries, recursive queries, transfer requests, updates and NOTIFY messages
without a key, and many queries with large answers; port53 prove also asks for the version and the
metrics. It checks the firewall rules, the permissions of the control socket, key files and
state_dir, and which processes hold port 53. Each line says what was expected and what was seen.
port53 check --self begins with these tests.

port53 prove needs root; what cannot be tested is reported as unknown. Nothing is changed: each
test update has a prerequisite (RFC 2136, section 2.4) that is never met.

With --watch, port53 prove keeps running and tests again every hour, and within a minute of a
change of addresses, firewall rules, permissions, the processes on port 53 or the configuration.
port53 prove reports each result to the server, which shows it in port53 status, the log, the
metric port53_contract_violations and, with port53 serve --prove, at /ready of the metrics
listener.

--role none proves that ports 53 and 853 of this machine are closed.

Exit codes: 0 everything was tested and holds, 1 something is violated, 2 port53 prove could not
run, 3 nothing is violated, but something could not be tested.`,
		Example: `  sudo port53 prove
  sudo port53 prove --config port53.yaml --all
  sudo port53 prove --role none
  sudo port53 prove --json | jq '.[] | select(.state == "violated")'
  sudo port53 prove --watch`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.role != "" && p.role != roleNone {
				return failure(
					exitUsage,
					"leave it out: the role of a server is in its configuration",
					"--role %s: expected none",
					p.role,
				)
			}
			if p.watch {
				return s.watchContract(cmd.Context(), &p)
			}
			lines, err := p.prove(cmd.Context())
			if err != nil {
				return err
			}
			if p.asJSON {
				err = s.printJSON(lines)
			} else {
				s.printLines(lines, p.all)
			}
			if err != nil {
				return err
			}
			return proofCode(lines)
		},
	}
	configFlag(cmd, &p.file)
	f := cmd.Flags()
	f.StringVar(&p.socket, "socket", "", "the server's control socket, instead of what the configuration says")
	f.StringVar(&p.role, "role", "", "none: prove that ports 53 and 853 are closed")
	f.BoolVar(&p.watch, "watch", false, "keep running, and report each result to the server")
	f.BoolVar(&p.asJSON, "json", false, "print JSON")
	f.BoolVar(&p.all, "all", false, "also print what holds")
	f.DurationVar(&p.timeout, "timeout", time.Second, "how long to wait for each reply")
	f.BoolVar(&p.parent, "until-eof", false, "end with standard input")
	_ = f.MarkHidden("until-eof") // the flag is there
	return cmd
}

// proofCode is the exit code of a proof.
func proofCode(lines []proof.Line) error {
	switch {
	case len(proof.Violations(lines)) > 0:
		return &exit{code: exitFindings}
	case slices.ContainsFunc(lines, func(l proof.Line) bool { return l.State == proof.Unknown }):
		return &exit{code: exitUnmeasured}
	}
	return nil
}

// subject returns what is to be proved.
func (p *prover) subject(ctx context.Context) (*proof.Server, error) {
	if p.role == roleNone {
		return &proof.Server{NotRunning: true, UDPSize: 512, State: config.Default().Firewall.StateDir}, nil
	}
	c, _, err := loadConfig(p.file)
	if err != nil {
		return nil, err
	}
	if more, err := app.WithAdded(c); err == nil { // else the server tells of it
		c = more
	}
	server, err := app.ProofOf(c)
	if err != nil {
		return nil, failure(exitUsage, "", "%v", err)
	}
	if p.socket != "" {
		server.Socket = p.socket
	}
	if server.Socket != "" {
		server.PID, _ = console.ListenerOf(ctx, server.Socket) // 0 where it cannot be told
	}
	return server, nil
}

func (p *prover) prove(ctx context.Context) ([]proof.Line, error) {
	subject, err := p.subject(ctx)
	if err != nil {
		if broken := p.broken(err); broken != nil && exists(p.file) {
			return broken, nil
		}
		return nil, err
	}
	return proof.Prove(ctx, subject, proof.Options{Timeout: p.timeout}), nil
}

// printLines prints what is violated and unknown, with all what holds too, and how many of each there are.
func (s *streams) printLines(lines []proof.Line, all bool) {
	count := map[proof.State]int{}
	for i := range lines {
		l := &lines[i]
		count[l.State]++
		if all || l.State != proof.Holds {
			fmt.Fprintln(s.out, l.String())
		}
	}
	fmt.Fprintf(
		s.out,
		"the contract: %d lines hold, %d are violated, %d are unknown\n",
		count[proof.Holds],
		count[proof.Violated],
		count[proof.Unknown],
	)
}

// printProof prints what a server knows of its proof.
func (s *streams) printProof(p *app.Proof) {
	if p == nil {
		fmt.Fprintln(s.out, "the contract was not proved: port53 prove does it")
		return
	}
	fmt.Fprintf(
		s.out,
		"the contract was proved at %s: %d lines, %d are violated, %d are unknown\n",
		p.At.Format(time.RFC3339),
		p.Lines,
		len(p.Violated),
		len(p.Unknown),
	)
	for i := range p.Violated {
		fmt.Fprintln(s.out, "  "+p.Violated[i].String())
	}
}

// How often is looked, and proved.
const (
	lookEach  = 15 * time.Second
	proveEach = time.Hour
	tellWait  = 10 * time.Second
)

// watchContract proves until ctx ends, or standard input if that is what it goes by.
func (s *streams) watchContract(ctx context.Context, p *prover) error {
	if p.role == roleNone {
		return failure(exitUsage, "a timer of the system can repeat it", "--watch tells a server of its proof, and --role none has none")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if p.parent {
		go func() {
			_, _ = io.Copy(io.Discard, s.in)
			cancel()
		}()
	}
	told := make(chan struct{}, 1)
	poke := func() {
		select {
		case told <- struct{}{}:
		default: // it will be looked anyway
		}
	}
	if err := netif.Watch(ctx, poke); err != nil {
		s.complain("", "changes of addresses are not told of: %v", err)
	}
	before, last := "", time.Time{}
	for {
		now := p.look(ctx)
		if now != before || time.Since(last) >= proveEach {
			switch err := p.tell(ctx); {
			case err == nil:
				before, last = p.look(ctx), time.Now() // the cable has come and gone
			case ctx.Err() != nil:
				return nil
			default:
				s.complain("", "%v", err)
			}
		}
		wait := lookEach
		if before == "" {
			wait = time.Second // the server is starting
		}
		select {
		case <-ctx.Done():
			return nil
		case <-told:
		case <-time.After(wait):
		}
	}
}

// look returns what a proof depends on that changes by itself, as it is now.
func (p *prover) look(ctx context.Context) string {
	var b strings.Builder
	c, _, err := loadConfig(p.file)
	if err != nil {
		return err.Error()
	}
	files := append(slices.Clone(c.Files()), c.Control.Socket, c.StateDir)
	subject, err := app.ProofOf(c)
	if err != nil {
		return err.Error()
	}
	for _, f := range subject.Files {
		files = append(files, f.Path)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			at := time.Time{}
			if !info.IsDir() {
				at = info.ModTime()
			}
			fmt.Fprintln(&b, f, info.Mode(), at)
		}
	}
	for _, a := range []string{"0.0.0.0:53", "[::]:53"} {
		for _, h := range server.SocketHolders(netip.MustParseAddrPort(a)) {
			fmt.Fprintln(&b, h)
		}
	}
	for _, a := range c.Listen {
		for _, h := range server.SocketHolders(a) {
			fmt.Fprintln(&b, h)
		}
	}
	all, _ := netif.List()
	for _, a := range all {
		if !fwrun.IsProverInterface(a.Interface) {
			fmt.Fprintln(&b, a)
		}
	}
	system := &fwrun.System{State: c.Firewall.StateDir}
	foreign, err := system.Foreign(ctx, firewall.Nftables)
	fmt.Fprintln(&b, foreign, err)
	if subject.Rules != nil {
		st, err := system.Compare(ctx, subject.Rules)
		if err == nil {
			fmt.Fprintln(&b, st.Loaded, st.Missing, st.Extra)
		}
	}
	return b.String()
}

// errAway is that no server was reached that could be told.
var errAway = errors.New("the server is not reached")

// tell proves, and tells the server.
func (p *prover) tell(ctx context.Context) error {
	subject, err := p.subject(ctx)
	if err != nil {
		if broken := p.broken(err); broken != nil && exists(p.file) {
			return p.send(ctx, config.ControlSocket(p.file), broken)
		}
		return err
	}
	if subject.Socket == "" {
		return failure(exitUsage, "let control.socket be on", "the server cannot be told of proofs: its control socket is off")
	}
	if subject.PID == 0 {
		return fmt.Errorf("%w: %s", errAway, subject.Socket)
	}
	return p.send(ctx, subject.Socket, proof.Prove(ctx, subject, proof.Options{Timeout: p.timeout}))
}

// send tells the server at a control socket what became of its contract.
func (p *prover) send(ctx context.Context, socket string, lines []proof.Line) error {
	text, err := json.Marshal(app.NewProof(lines, time.Now()))
	if err != nil {
		return err
	}
	if p.socket != "" {
		socket = p.socket
	}
	ctx, cancel := context.WithTimeout(ctx, tellWait)
	defer cancel()
	return console.Send(ctx, socket, "/proof", bytes.NewReader(text), nil)
}

// broken is the proof of a contract that cannot be read, such as that the file of a key can be read by others.
func (p *prover) broken(err error) []proof.Line {
	var e *exit
	if !errors.As(err, &e) {
		return nil
	}
	text, _, _ := strings.Cut(strings.TrimSpace(e.text), "\n")
	return []proof.Line{
		{
			Kind:     "config",
			At:       p.file,
			Expected: "a configuration that can be used",
			Seen:     strings.TrimPrefix(text, "error: "),
			State:    proof.Violated,
			Remedy:   "port53 config check --config " + p.file,
		},
	}
}

// startProver starts prove --watch beside a server that root starts: it keeps the rights that the server gives up, and
// ends with it. Whoever is not root has it started by the system.
func (s *streams) startProver(file string) (stop func(), err error) {
	if os.Geteuid() != 0 {
		s.complain("port53-prove.service does it; or: sudo port53 prove --watch", "root proves the contract, and this is not root")
		return func() {}, nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, failure(exitUsage, "", "--prove: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, failure(exitUsage, "", "--prove: %v", err)
	}
	cmd := exec.Command(self, "prove", "--watch", "--until-eof", "--config", file)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, s.out, s.err
	if err := cmd.Start(); err != nil {
		return nil, failure(exitUsage, "", "--prove: %v", err)
	}
	r.Close()
	go func() { _ = cmd.Wait() }() // it tells of its troubles itself
	return func() { w.Close() }, nil
}
