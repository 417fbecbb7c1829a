package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// clock looks for a clock that is wrong, or that nobody sets: signatures have times.
func (p *patient) clock() {
	const id, title = "clock", "the clock is set, and something keeps it right"
	now, kept := time.Now(), !p.unsynchronized()
	if p.Clock != nil {
		now, kept = p.Clock()
	}
	harm := "signatures are judged by the clock: beyond their times every signed name fails"
	switch {
	case !p.Built.IsZero() && now.Before(p.Built):
		p.add(Finding{
			ID:     id,
			Title:  title,
			State:  Problem,
			Impact: harm,
			Remedy: p.setClock(),
			Seen: fmt.Sprintf(
				"it says %s, and this program was built on %s",
				now.UTC().Format(time.DateTime),
				p.Built.UTC().Format(time.DateOnly),
			),
		})
	case !kept:
		p.add(Finding{
			ID: id, Title: title, State: Problem, Impact: harm, Remedy: p.setClock(),
			Seen: fmt.Sprintf("it says %s UTC, and the kernel says that nobody keeps it right", now.UTC().Format(time.DateTime)),
		})
	default:
		p.ok(id, title, "%s UTC", now.UTC().Format(time.DateTime))
	}
}

// setClock returns the command that has the clock set, by what is installed.
func (p *patient) setClock() string {
	for _, c := range []struct{ file, command string }{
		{"/usr/sbin/chronyd", "systemctl enable --now chrony && chronyc makestep"},
		{"/usr/lib/systemd/systemd-timesyncd", "timedatectl set-ntp true"},
		{"/usr/sbin/ntpd", "systemctl enable --now ntpsec"},
	} {
		if _, err := os.Stat(p.path(c.file)); err == nil {
			return c.command
		}
	}
	return p.install("chrony") + " && systemctl enable --now chrony"
}

// install returns the command that installs a package, by the system's own manager.
func (p *patient) install(pkg string) string {
	for _, m := range []struct{ file, command string }{
		{"/usr/bin/apt-get", "apt-get install -y "},
		{"/usr/bin/dnf", "dnf install -y "},
		{"/sbin/apk", "apk add "},
		{"/usr/bin/pacman", "pacman -S --noconfirm "},
		{"/usr/bin/zypper", "zypper install -y "},
	} {
		if _, err := os.Stat(p.path(m.file)); err == nil {
			return m.command + pkg
		}
	}
	return "pkcon -y install " + pkg // PackageKit, which stands before whichever manager there is
}

var (
	appArmorDenial = regexp.MustCompile(`apparmor="DENIED".*?(?:profile|comm)="[^"]*port53[^"]*"`)
	selinuxDenial  = regexp.MustCompile(`avc:\s+denied\s+\{[^}]*\}.*?comm="port53"`)
	deniedName     = regexp.MustCompile(`\b(?:name|path)="([^"]*)"`)
)

// logs are where the kernel's denials end, the first that can be read counts.
var logs = []string{"/var/log/audit/audit.log", "/var/log/kern.log", "/var/log/messages", "/var/log/syslog"}

// denials looks for what SELinux and AppArmor have kept port53 from.
func (p *patient) denials() {
	const id, title = "denied", "SELinux and AppArmor let port53 do its work"
	var err error
	for _, name := range logs {
		var text string
		if text, err = p.read(name); err != nil {
			continue
		}
		if m := p.last(appArmorDenial, text); m != "" {
			p.add(Finding{
				ID: id, Title: title, State: Problem, Object: "apparmor", Seen: "AppArmor refused it " + denied(m),
				Impact: "what is refused fails, with an error that names permissions",
				Remedy: "aa-complain /etc/apparmor.d/usr.bin.port53 # it is allowed and told; then add a rule for it, and aa-enforce",
			})
			return
		}
		if m := p.last(selinuxDenial, text); m != "" {
			p.add(Finding{
				ID: id, Title: title, State: Problem, Object: "selinux", Seen: "SELinux refused it " + denied(m),
				Impact: "what is refused fails, with an error that names permissions",
				Remedy: "ausearch -m avc -c port53 --raw | audit2allow -M port53-local && semodule -i port53-local.pp",
			})
			return
		}
		p.ok(id, title, "%s has no denial", name)
		return
	}
	if os.IsNotExist(err) && !p.confined() {
		p.ok(id, title, "neither is there")
		return
	}
	p.unknown(id, title, fmt.Errorf("the kernel's log cannot be read (journalctl -k --grep 'DENIED|denied' shows it): %w", err))
}

// confined reports whether SELinux or AppArmor is there.
func (p *patient) confined() bool {
	for _, name := range []string{"/sys/fs/selinux/enforce", "/sys/kernel/security/apparmor/profiles"} {
		if _, err := os.Stat(p.path(name)); err == nil {
			return true
		}
	}
	return false
}

// policies are files that change when somebody changes what port53 may do.
var policies = []string{
	"/etc/apparmor.d/usr.bin.port53", "/etc/apparmor.d/local/usr.bin.port53", "/var/lib/selinux/*/active/modules/*/port53*",
	"/etc/selinux/*/active/modules/*/port53*",
}

// mendedAt returns when what port53 may do was changed last.
func (p *patient) mendedAt() (at time.Time) {
	for _, pattern := range policies {
		names, _ := filepath.Glob(p.path(pattern))
		for _, name := range names {
			if s, err := os.Stat(name); err == nil && s.ModTime().After(at) {
				at = s.ModTime()
			}
		}
	}
	return at
}

// auditTime is the time of a denial, in seconds since 1970, as the kernel writes it in either log.
var auditTime = regexp.MustCompile(`\baudit\((\d+)[.:)]`)

// last returns the line of a log with the last match, unless what port53 may do was changed after it.
func (p *patient) last(re *regexp.Regexp, text string) (found string) {
	for line := range strings.Lines(text) {
		if re.MatchString(line) {
			found = line
		}
	}
	if m := auditTime.FindStringSubmatch(found); m != nil {
		if s, err := strconv.ParseInt(m[1], 10, 64); err == nil && time.Unix(s+1, 0).Before(p.mendedAt()) {
			return ""
		}
	}
	return found
}

func denied(line string) string {
	if m := deniedName.FindStringSubmatch(line); m != nil {
		return filepath.Clean(m[1])
	}
	return strings.TrimSpace(line)
}

// kernel looks for a kernel that lacks what port53 uses: it works without, more slowly or less
// confined.
func (p *patient) kernel() {
	const id, title = "old-kernel", "the kernel has what port53 uses"
	text, err := p.read("/proc/sys/kernel/osrelease")
	if err != nil {
		p.unknown(id, title, err)
		return
	}
	release := strings.TrimSpace(text)
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		p.unknown(id, title, fmt.Errorf("release %q", release))
		return
	}
	lacks := ""
	switch v := major*1000 + minor; {
	case v < 5013:
		lacks = "files are not confined (Landlock came with 5.13), and each question to a server opens a socket (6.1)"
	case v < 6001:
		lacks = "each question to a server opens a socket (the kernel draws random ports again and again since 6.1)"
	default:
		p.ok(id, title, "Linux %s", release)
		return
	}
	pkg := "linux-image-$(dpkg --print-architecture)"
	if _, err := os.Stat(p.path("/usr/bin/apt-get")); err != nil {
		pkg = "kernel"
	}
	p.add(Finding{
		ID: id, Title: title, State: Problem, Seen: "Linux " + release, Impact: lacks,
		Remedy: p.install(pkg) + " && reboot",
	})
}
