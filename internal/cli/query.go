package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"port53/internal/chain"
	"port53/internal/exchange"
	"port53/internal/query"
	"port53/internal/wire"
)

func newQuery(s *streams) *cobra.Command {
	p := newQueryParser()
	cmd := &cobra.Command{
		Use:   "query NAME [TYPE] [@SERVER] [flags]",
		Short: "Query DNS servers, like dig, and explain the answer",
		Long: `port53 query asks the system's resolvers, or @SERVER, and prints the reply as dig does, followed
by a few plain lines: whether the name exists, where the answer came from, whether it was
validated, and what is probably wrong. dig's options work (+short, +tcp, -x, -f …), and each has
an equivalent flag. --no-FLAG, or +noflag, turns a flag off.

--trace follows the delegations from the root servers, or from @SERVER, as a resolver
does, and shows each step.
--validate checks DNSSEC from the root's keys down, and shows where the chain breaks. For each key
of the zone it shows what the key signs, until when those signatures are valid, and whether the
key has a DS record.
With --validate --short, the first line is secure, insecure, bogus or indeterminate.
--explain asks the port53 running on this machine how it arrives at its answer.

Options before the first name apply to all names, options after a name to that name. If several
types are given, one query is sent for each. Control characters in data from the network are
printed as escapes. --json prints one object per query; docs/QUERY.md describes its fields.

Similar: dig, kdig, drill (of ldns), host, nslookup, delv, unbound-host.
Exit codes: 0 an answer, including NXDOMAIN; 1 no usable answer: a timeout, SERVFAIL,
REFUSED and similar, or a bogus answer; 2 the query could not be sent.`,
		Example: `  port53 query www.example.com
  port53 query example.com MX @192.0.2.53 --tcp
  port53 query --short example.com A AAAA
  port53 query -x 192.0.2.1
  port53 query --trace www.example.com
  port53 query --validate www.example.com @192.0.2.53
  port53 query --json example.com SOA | jq .reply.answer`,
		DisableFlagParsing: true, // dig's order counts, and its + is no flag
		RunE: func(cmd *cobra.Command, args []string) error {
			return s.query(cmd, p, args)
		},
	}
	flags := cmd.Flags()
	for _, o := range p.options {
		if o.long == "" || o.help == "" {
			continue
		}
		help := o.help
		if o.plus != "" {
			help += " (+" + strings.ReplaceAll(o.plus, " ", ", +") + ")"
		}
		short := ""
		if o.short != 0 {
			short = string(o.short)
		}
		if o.arg == "" {
			flags.BoolP(o.long, short, false, help)
		} else {
			flags.VarP(argument(o.arg), o.long, short, help)
		}
	}
	flags.VarP(argument("FILE"), "batch", "f", "read queries from a file, one command line per line; - for standard input")
	flags.SortFlags = false
	return cmd
}

// An argument is a flag's value as help shows it: its name. Parsing is done by a
// queryParser.
type argument string

func (argument) String() string   { return "" }
func (argument) Set(string) error { return nil }
func (a argument) Type() string   { return string(a) }

// query asks all questions of a command line and returns the worst of their exits.
func (s *streams) query(cmd *cobra.Command, p *queryParser, args []string) error {
	line, err := p.parse(newAsking(), args)
	if err != nil {
		return failure(exitUsage, "see port53 query --help", "%v", err)
	}
	if line.help {
		return cmd.Help()
	}
	if line.version {
		fmt.Fprint(s.out, versionLine())
		return nil
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code := s.askEach(ctx, line, args)
	if line.batch != "" && ctx.Err() == nil {
		code = max(code, s.batch(ctx, p, line))
	}
	if ctx.Err() != nil {
		return failure(exitFindings, "", "interrupted")
	}
	if code != exitOK {
		return &exit{code: code}
	}
	return nil
}

// maxBatchLine is the longest line of a file of command lines: a few names of 255
// octets, escaped, and their flags.
const maxBatchLine = 64 << 10

// batch asks the questions of each line of a file as it is read, until the context is done.
func (s *streams) batch(ctx context.Context, p *queryParser, line *commandLine) int {
	in, name := s.in, "standard input"
	if line.batch != "-" {
		f, err := openInput(ctx, line.batch)
		if ctx.Err() != nil {
			return exitFindings
		} else if err != nil {
			s.complain("", "%s: %v", line.batch, pathCause(err))
			return exitUsage
		}
		defer f.Close()
		in, name = f, line.batch
	}
	lines, failed := make(chan string), make(chan error, 1)
	go func() { // whoever writes may take as long as he likes
		defer close(lines)
		scanner := bufio.NewScanner(in)
		scanner.Buffer(nil, maxBatchLine)
		for scanner.Scan() {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
		failed <- scanner.Err()
	}()
	code := exitOK
	for n := 1; ; n++ {
		var text string
		more := false
		select {
		case text, more = <-lines:
		case <-ctx.Done():
			return code
		}
		if !more {
			break
		}
		words := strings.Fields(text)
		if len(words) == 0 || words[0][0] == '#' || words[0][0] == ';' {
			continue
		}
		inner, err := p.parse(*line.base, words)
		if err == nil && (inner.batch != "" || inner.help || inner.version) {
			err = errors.New("-f, --help and -v do not belong into a file")
		}
		if err != nil {
			s.complain("", "%s:%d: %v", name, n, err)
			code = max(code, exitUsage)
			continue
		}
		code = max(code, s.askEach(ctx, inner, words))
	}
	if ctx.Err() != nil {
		return code
	}
	if err := <-failed; err != nil {
		s.complain("", "%s: %v", name, err)
		code = max(code, exitUsage)
	}
	return code
}

// openInput opens a file to read from. A pipe is waited for until somebody writes to it or the
// context is done.
func openInput(ctx context.Context, name string) (*os.File, error) {
	opened, failed := make(chan *os.File, 1), make(chan error, 1)
	go func() {
		f, err := os.Open(name)
		if err != nil {
			failed <- err
			return
		}
		opened <- f
	}()
	select {
	case f := <-opened:
		return f, nil
	case err := <-failed:
		return nil, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// complain writes an error that does not end the command.
func (s *streams) complain(hint, format string, args ...any) {
	fmt.Fprintf(s.err, "port53: error: %s\n", strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " "))
	if hint != "" {
		fmt.Fprintf(s.err, "port53: hint: %s\n", hint)
	}
}

// askEach does what each asking wants and returns the worst exit code. Where a word that is no type may
// be the cause of what fails, that is told first, and complaints after it; a complaint that is the same
// for two askings, as of a server without an address, is printed once.
func (s *streams) askEach(ctx context.Context, line *commandLine, words []string) int {
	code, said, last := exitOK, false, ""
	var complaints []string
	waits := false // for the end, with complaints
	for _, a := range line.askings {
		waits = waits || a.notType != ""
		if a.notType != "" && a.notType == strings.ToUpper(a.notType) {
			s.tellNotType(a)
		}
	}
	for _, a := range line.askings {
		if ctx.Err() != nil {
			break
		}
		if a.style.Command && !a.style.Short && !a.asJSON && !a.asYAML && !a.nssearch && !said {
			fmt.Fprintf(s.out, "; port53 query %s\n", query.Printable([]byte(strings.Join(hidden(words), " "))))
			said = true
		}
		var complaint strings.Builder
		held := *s
		held.err = &complaint
		one := held.askOne(ctx, a)
		if a.notType != "" && one != exitOK && a.notType != strings.ToUpper(a.notType) {
			s.tellNotType(a)
		}
		if text := complaint.String(); text != last {
			complaints, last = append(complaints, text), text
		}
		if !waits {
			fmt.Fprint(s.err, strings.Join(complaints, ""))
			complaints = nil
		}
		code = max(code, one)
	}
	fmt.Fprint(s.err, strings.Join(complaints, ""))
	return code
}

// tellNotType says that a word behind a name was taken for another name.
func (s *streams) tellNotType(a *asking) {
	fmt.Fprintf(
		s.err,
		"port53: hint: %s is not a known record type, so it is taken for a second name; "+
			"write an unknown type by number, such as TYPE65280\n",
		a.notType,
	)
}

// askOne does what one asking wants and returns its exit code.
func (s *streams) askOne(ctx context.Context, a *asking) int {
	if a.seal.on && a.way != askServer {
		s.complain("leave one of the two out", "what follows a name from server to server, or asks this machine's, is not asked over TLS")
		return exitUsage
	}
	switch a.way {
	case traceIt:
		return s.trace(ctx, a)
	case explainIt:
		return s.explain(ctx, a)
	}
	if a.q.Type == wire.TypeANY && !a.noTCP {
		a.route.TCP = true // as dig: over UDP most servers say less
	}
	servers, err := a.servers(ctx)
	if err != nil {
		hint := "name another server: @SERVER"
		switch {
		case errors.Is(err, errLookup):
			hint = "name the server by its address, such as @192.0.2.1"
		case errors.Is(err, errPort):
			hint = "correct the port: @ADDRESS:PORT, such as @192.0.2.1:53"
		}
		s.complain(hint, "%v", err)
		return exitUsage
	}
	server := a.server
	if server == "" {
		server = servers[0].Addr().String()
	}
	if a.route.Transport, err = a.seal.route(server); err != nil {
		s.complain("", "%v", err)
		return exitUsage
	}
	if sealed := a.route.Transport; sealed != nil && (sealed.URL != "" || sealed.QUIC) && a.q.Type == wire.TypeAXFR {
		s.complain("use --tls", "a zone is not asked for over %s", sealed)
		return exitUsage
	}
	switch {
	case a.way == validateIt:
		return s.validate(ctx, a, servers)
	case a.nssearch:
		return s.nssearch(ctx, a, servers)
	case a.q.Type == wire.TypeAXFR || a.q.Type == wire.TypeIXFR && !a.noTCP:
		return s.transfer(ctx, a, servers) // a question for IXFR goes over TCP, as dig's does
	case a.search.on:
		return s.askSearching(ctx, a, servers)
	}
	return s.ask(ctx, a, servers)
}

// ask asks the servers and prints the reply.
func (s *streams) ask(ctx context.Context, a *asking, servers []netip.AddrPort) int {
	r, err := a.route.AskAll(ctx, servers, &a.q, func(r *exchange.Reply) bool {
		return a.next && len(servers) > 1 && r.Message.Rcode == wire.ServFail
	})
	if err != nil {
		return s.unanswered(ctx, a, err)
	}
	return s.show(a, r)
}

// show prints a reply, and returns the exit code that it makes.
func (s *streams) show(a *asking, r *exchange.Reply) int {
	f := chain.Classify(r)
	switch {
	case a.asYAML:
		if _, err := s.out.Write(a.style.AppendYAML(nil, r)); err != nil {
			return exitUsage
		}
	case a.asJSON:
		if err := s.printJSON(query.ReportReply(r)); err != nil {
			return exitUsage
		}
	default:
		out := a.style.AppendReply(nil, r)
		if a.style.Meaning && !a.style.Short {
			out = query.AppendMeaning(out, r)
		}
		if _, err := s.out.Write(out); err != nil {
			return exitUsage
		}
	}
	if r.Unverified != nil {
		s.complain("", "%s: %v: the signature of the reply is not good: %v", a.subject(), r.Server, r.Unverified)
		return exitFindings
	}
	if f.Outcome.Usable() {
		return exitOK
	}
	why := r.Message.Rcode.String()
	if f.Outcome == chain.Malformed {
		why = "a malformed reply: " + r.Fault.String()
	}
	s.complain("", "%s: %v answered %s", a.subject(), r.Server, why)
	return exitFindings
}

// subject returns the name and type that are asked for.
func (a *asking) subject() string { return query.NameText(a.q.Name) + " " + a.q.Type.String() }

// unanswered tells that no server replied.
func (s *streams) unanswered(ctx context.Context, a *asking, err error) int {
	if ctx.Err() != nil {
		return exitFindings // said by the caller
	}
	if a.asJSON {
		if s.printJSON(query.FailureReport(&a.q, err)) != nil {
			return exitUsage
		}
	}
	hint := ""
	if none, ok := errors.AsType[*exchange.NoReplyError](err); ok && none.Unreachable() {
		hint = "check this machine's addresses and routes, or name another server: @SERVER"
	}
	s.complain(hint, "%s: %v", a.subject(), err)
	return exitFindings
}

// servers returns the addresses to ask: of the server named, or the system's.
func (a *asking) servers(ctx context.Context) ([]netip.AddrPort, error) {
	var addrs []netip.Addr
	port := a.port
	if a.server == "" {
		system, err := query.SystemServers(a.resolvConf)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.resolvConf, pathCause(err))
		}
		addrs = system
	} else {
		host, own, err := splitServer(a.server)
		if err != nil {
			return nil, err
		}
		if own != 0 {
			port = own
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			addrs = []netip.Addr{addr}
		} else {
			addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
			if err != nil {
				return nil, fmt.Errorf("server %s: %w: %w", host, errLookup, lookupCause(err))
			}
			a.style.ServerName = host
		}
	}
	var servers []netip.AddrPort
	for _, addr := range addrs {
		addr = addr.Unmap()
		if a.family == 4 && !addr.Is4() || a.family == 6 && addr.Is4() {
			continue
		}
		if src := a.route.Dialer.Source; src.IsValid() && src.Addr().Is4() != addr.Is4() {
			continue
		}
		servers = append(servers, netip.AddrPortFrom(addr, port))
	}
	if len(servers) == 0 {
		return nil, errors.New("no server has an address of the family that -4, -6 or -b leaves")
	}
	return servers, nil
}

var (
	// errPort begins the error of a server whose port is none.
	errPort = errors.New("port")
	// errLookup begins the error of a server whose name has no address.
	errLookup = errors.New("its address cannot be looked up")
)

// splitServer takes HOST, HOST#PORT, HOST:PORT or [ADDRESS]:PORT apart. port is 0 if
// there is none.
func splitServer(s string) (host string, port uint16, err error) {
	host, text, has := strings.Cut(s, "#")
	switch {
	case has:
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
	case strings.HasPrefix(s, "[") || strings.Count(s, ":") == 1:
		has = true
		if host, text, err = net.SplitHostPort(s); err != nil {
			return "", 0, fmt.Errorf("server %q: expected an address or a name, and #PORT behind it", s)
		}
	}
	host = strings.Trim(host, "[]")
	if host == "" {
		return "", 0, fmt.Errorf("server %q: expected an address or a name", s)
	}
	if !has {
		return host, 0, nil
	}
	v, err := number(text, 1, 65535)
	if err != nil {
		return "", 0, fmt.Errorf("server %q: %w %w", s, errPort, err)
	}
	return host, uint16(v), nil
}

// lookupCause returns what the system's resolver says, without what was looked up. The resolver's
// address is named as such, lest it be taken for the server's.
func lookupCause(err error) error {
	d, ok := errors.AsType[*net.DNSError](err)
	if !ok {
		return err
	}
	host, _, splitErr := net.SplitHostPort(d.Server)
	switch {
	case splitErr != nil || d.IsNotFound:
		return errors.New(d.Err)
	case d.IsTimeout:
		return fmt.Errorf("the system's resolver %s does not answer", host)
	}
	cause := d.Err
	if i := strings.LastIndex(cause, ": "); i >= 0 {
		cause = cause[i+2:] // behind "dial udp ADDRESS: connect: "
	}
	return fmt.Errorf("the system's resolver %s cannot be used: %s", host, cause)
}
