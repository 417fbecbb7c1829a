package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A document is a file of a package that is the same for all systems.
type document struct {
	path   string // where it is installed, absolute
	data   []byte
	config bool // the administrator's, once it is installed
}

// documents makes manual pages, completions, and what else all packages have.
func (b *build) documents() ([]document, error) {
	tmp, err := os.MkdirTemp("", "port53-dist")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	var docs []document
	if _, err := b.tool("run", "./cmd/manpages", "-date", b.date.Format("2006-01-02"), tmp); err != nil {
		return nil, err
	}
	pages, err := filepath.Glob(filepath.Join(tmp, "*.[15]"))
	if err != nil {
		return nil, err
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return nil, err
		}
		section := strings.TrimPrefix(filepath.Ext(page), ".")
		docs = append(docs, document{path: "/usr/share/man/man" + section + "/" + filepath.Base(page) + ".gz", data: zipped(text)})
	}
	for shell, path := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/port53",
		"zsh":  "/usr/share/zsh/vendor-completions/_port53",
		"fish": "/usr/share/fish/vendor_completions.d/port53.fish",
	} {
		text, err := b.tool("run", "./cmd/port53", "completion", shell)
		if err != nil {
			return nil, err
		}
		docs = append(docs, document{path: path, data: text})
	}
	for from, to := range map[string]string{
		"packaging/port53.service":  "/lib/systemd/system/port53.service",
		"packaging/port53.sysusers": "/usr/lib/sysusers.d/port53.conf",
		"packaging/port53.tmpfiles": "/usr/lib/tmpfiles.d/port53.conf",
		"packaging/port53.sysctl":   "/usr/lib/sysctl.d/60-port53.conf",
		"packaging/port53.yaml":     "/etc/port53/port53.yaml",
		"packaging/port53.apparmor": "/etc/apparmor.d/usr.bin.port53",
		"packaging/port53.te":       "/usr/share/port53/selinux/port53.te",
		"packaging/port53.fc":       "/usr/share/port53/selinux/port53.fc",
		"packaging/port53.socket":   "/usr/share/doc/port53/examples/port53.socket",
	} {
		text, err := os.ReadFile(filepath.Join(b.root, from))
		if err != nil {
			return nil, err
		}
		docs = append(docs, document{path: to, data: text, config: strings.HasPrefix(to, "/etc/")})
	}
	changes, err := os.ReadFile(filepath.Join(b.root, "CHANGELOG.md"))
	if err != nil {
		return nil, err
	}
	return append(docs,
		document{path: "/usr/share/doc/port53/copyright", data: []byte(copyright)},
		document{path: "/usr/share/doc/port53/changelog.gz", data: zipped(changes)}), nil
}

// tool runs go in the source and returns what it printed.
func (b *build) tool(args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = b.root, append(clean(os.Environ()), "CGO_ENABLED=0")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, errs.Bytes())
	}
	return out.Bytes(), nil
}

// copyright is Debian's copyright file.
const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: port53

Files: *
Copyright: 2026 the port53 authors
License: Apache-2.0

License: Apache-2.0
 On Debian systems the text of the Apache License, version 2.0, is in
 /usr/share/common-licenses/Apache-2.0.
`

// zipped compresses without a name and a time.
func zipped(text []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = io.Copy(z, bytes.NewReader(text))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}
