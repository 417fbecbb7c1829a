package report

import (
	"bytes"
	"fmt"
	"strings"

	"port53/internal/finding"
	"port53/internal/scan"
	"port53/internal/wire"
)

// An nmapWriter writes as nmap does: a table of ports with the findings below as of its
// scripts, or a line for each host.
type nmapWriter struct {
	base
	grepable bool
}

// nmapHost returns the name and address as nmap writes them. Names from the network have
// no blanks, which would part fields.
func nmapHost(r *finding.Report) (name, addr string) {
	if r.Target.Server.Name != nil {
		name = strings.TrimSuffix(wire.NameText(r.Target.Server.Name), ".")
	}
	if r.Target.Server.Addr.IsValid() {
		return wire.Printable(name), r.Target.Server.Addr.Addr().String()
	}
	return wire.Printable(name), wire.Printable(r.Target.Text)
}

// service returns the name that nmap has for a port (its nmap-services).
func service(r *finding.Report, p scan.Port) string {
	switch p.Number {
	case 53, r.Target.Server.Addr.Port():
		return "domain"
	case 443:
		return "https"
	case 853:
		return "domain-s"
	}
	return "unknown"
}

// version returns what nmap has in its last column, for the port of the server.
func version(r *finding.Report, p scan.Port) string {
	if p.Number != r.Target.Server.Addr.Port() || p.State != "open" {
		return ""
	}
	return runs(r)
}

func (n *nmapWriter) Write(r *finding.Report) error {
	var b bytes.Buffer
	name, addr := nmapHost(r)
	if n.n++; n.n == 1 {
		fmt.Fprintf(&b, "# port53 %s check, in the form of nmap\n", wire.Printable(n.o.Version))
	}
	if n.grepable {
		var list []string
		for _, p := range ports(r) {
			runs := strings.ReplaceAll(version(r, p), "/", "|")
			list = append(list, fmt.Sprintf("%d/%s/%s//%s//%s/", p.Number, p.State, p.Proto, service(r, p), runs))
		}
		fmt.Fprintf(&b, "Host: %s (%s)\tPorts: %s\n", addr, name, strings.Join(list, ", "))
		_, err := n.w.Write(b.Bytes())
		return err
	}
	host := addr
	if name != "" {
		host = fmt.Sprintf("%s (%s)", name, addr)
	}
	fmt.Fprintf(&b, "Nmap scan report for %s\n", host)
	if len(r.Ports) > 0 {
		portTable(&b, r)
	}
	if list := bad(r); len(list) > 0 {
		b.WriteString("\nHost script results:\n")
		for _, x := range list {
			fmt.Fprintf(&b, "| %s: \n|   %s %s: %s\n", x.check.ID, strings.ToUpper(x.State.String()), x.severity(), x.title())
			if x.Detail != "" {
				fmt.Fprintf(&b, "|   %s\n", x.detail())
			}
			fmt.Fprintf(&b, "|_  %s\n", x.command())
		}
	}
	fmt.Fprintf(&b, "\n# %s: %s\n\n", verdict(r), counts(r))
	_, err := n.w.Write(b.Bytes())
	return err
}

func (n *nmapWriter) Close() error {
	early := ""
	if n.interrupted() {
		early = "# " + earlyEnd + "\n"
	}
	_, err := fmt.Fprintf(n.w, "%s# port53 done: %s scanned\n", early, counted(n.n, "target"))
	return err
}

// portTable writes the ports as a table with its columns in line.
func portTable(b *bytes.Buffer, r *finding.Report) {
	rows := [][5]string{{"PORT", "STATE", "SERVICE", "REASON", "VERSION"}}
	for _, p := range ports(r) {
		rows = append(rows, [5]string{fmt.Sprintf("%d/%s", p.Number, p.Proto), p.State, service(r, p), p.Reason, version(r, p)})
	}
	var width [4]int
	for _, row := range rows {
		for i := range width {
			width[i] = max(width[i], len(row[i]))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, w := range width {
			fmt.Fprintf(&line, "%-*s ", w, row[i])
		}
		fmt.Fprintln(b, strings.TrimRight(line.String()+row[4], " "))
	}
}
