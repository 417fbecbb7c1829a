package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// An artefact is a file of the release, by its name in the directory of artefacts.
type artefact struct {
	name   string
	target target
}

const description = `DNS server, resolver and checker for port 53
 port53 answers for zones (authoritative), resolves and validates (DNSSEC),
 forwards, transfers and updates zones, and checks from outside what stands
 on any port 53. After installation it resolves for this machine alone: it
 listens on loopback until its configuration says otherwise.`

// pack makes all artefacts of one target of its program.
func (b *build) pack(t target, program string, documents []document) ([]artefact, error) {
	var made []artefact
	add := func(name string, err error) error {
		made = append(made, artefact{name, t})
		return err
	}
	if err := add(b.archive(t, program)); err != nil {
		return nil, err
	}
	for _, kind := range []string{"cdx", "spdx"} {
		if err := add(b.bom(kind, t, program)); err != nil {
			return nil, err
		}
	}
	for format, arch := range map[string]string{"deb": t.deb, "rpm": t.rpm, "apk": t.alpine} {
		if arch == "" {
			continue
		}
		if err := add(b.packageOf(format, arch, program, documents)); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(made, func(a, b artefact) int { return strings.Compare(a.name, b.name) })
	return made, nil
}

// packageOf makes one package and returns its name.
func (b *build) packageOf(format, arch, program string, documents []document) (string, error) {
	tmp, err := os.MkdirTemp("", "port53-dist")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	put := func(name string, data []byte) (string, error) {
		path := filepath.Join(tmp, strings.ReplaceAll(name, "/", "_"))
		return path, os.WriteFile(path, data, 0o600)
	}
	about := func(mode fs.FileMode) *files.ContentFileInfo {
		return &files.ContentFileInfo{Mode: mode, Owner: "root", Group: "root", MTime: b.date}
	}
	contents := files.Contents{{Source: program, Destination: "/usr/bin/port53", FileInfo: about(0o755)}}
	for _, d := range documents {
		to, kind := d.path, files.TypeFile
		switch {
		case format != "deb" && (strings.Contains(to, "apparmor") || strings.HasSuffix(to, "changelog.gz")),
			format != "rpm" && strings.Contains(to, "selinux"),
			format == "apk" && strings.Contains(to, "systemd"):
			continue
		case format == "rpm":
			to = strings.Replace(to, "/lib/systemd", "/usr/lib/systemd", 1)
		}
		if d.config {
			kind = files.TypeConfigNoReplace
		}
		from, err := put(d.path, d.data)
		if err != nil {
			return "", err
		}
		contents = append(contents, &files.Content{Source: from, Destination: to, Type: kind, FileInfo: about(0o644)})
	}
	if format == "deb" {
		from, err := put("lintian", []byte("# Go links statically.\nport53: statically-linked-binary [usr/bin/port53]\nport53: initial-upload-closes-no-bugs\n# There is no address for mail yet.\nport53: bogus-mail-host Maintainer port53@localhost\n# systemd starts it only if the configuration is right.\nport53: maintainer-script-calls-systemctl *\n"))
		if err != nil {
			return "", err
		}
		contents = append(contents, &files.Content{Source: from, Destination: "/usr/share/lintian/overrides/port53", FileInfo: about(0o644)})
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "port53", Arch: arch, Platform: "linux", Version: b.version, VersionSchema: "none", Section: "net", Priority: "optional",
		Maintainer: "the port53 authors <port53@localhost>", Description: description, License: "Apache-2.0", MTime: b.date,
		Overridables: nfpm.Overridables{
			Contents: contents, Depends: map[string][]string{"deb": {"adduser"}}[format],
			RPM: nfpm.RPM{Summary: "DNS server, resolver and checker for port 53", Compression: "gzip", BuildHost: "localhost"},
		},
	})
	switch format {
	case "rpm":
		info.Version = strings.ReplaceAll(info.Version, "-", "~")
		info.Release = "1"
	case "apk":
		info.Version, _, _ = strings.Cut(info.Version, "~") // apk knows no such suffix
	}
	scripts := filepath.Join(b.root, "packaging", format)
	for name, at := range map[string]*string{
		"preinst": &info.Scripts.PreInstall, "postinst": &info.Scripts.PostInstall, "prerm": &info.Scripts.PreRemove, "postrm": &info.Scripts.PostRemove,
	} {
		text, err := os.ReadFile(filepath.Join(scripts, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			*at, err = put("script-"+name, text)
		}
		if err == nil {
			err = os.Chtimes(*at, b.date, b.date) // which goes into packages of Alpine
		}
		if err != nil {
			return "", err
		}
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := packager.Package(info, &out); err != nil {
		return "", err
	}
	name := packager.ConventionalFileName(info)
	return name, b.write(name, out.Bytes())
}

// archive makes an archive of the program, the license and what to read first.
func (b *build) archive(t target, program string) (string, error) {
	base := "port53_" + b.version + "_" + t.file()
	from := map[string]string{"README.md": "README.md", "LICENSE": "LICENSE", "CHANGELOG.md": "CHANGELOG.md", "port53.yaml": "packaging/port53.yaml"}
	if t.system == "linux" {
		from["port53.service"] = "packaging/port53.service"
	}
	entries := []entry{{name: base + "/" + filepath.Base(program), mode: 0o755, file: program}}
	for name, file := range from {
		entries = append(entries, entry{name: base + "/" + name, mode: 0o644, file: filepath.Join(b.root, file)})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	if t.system == "windows" {
		return base + ".zip", b.zip(base+".zip", entries)
	}
	text, err := b.tar(entries)
	if err != nil {
		return "", err
	}
	return base + ".tar.gz", b.write(base+".tar.gz", zipped(text))
}

// An entry is a file or a directory of an archive: of the content of a file, or of its own.
type entry struct {
	name string // directories end with /
	mode int64
	uid  int
	file string
	data []byte
}

func (e *entry) read() ([]byte, error) {
	if e.file == "" {
		return e.data, nil
	}
	return os.ReadFile(e.file)
}

// tar returns a tar archive whose files are root's, or of the user with a number, and of the
// commit's time.
func (b *build) tar(entries []entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		data, err := e.read()
		if err != nil {
			return nil, err
		}
		h := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.uid, Gid: e.uid, Size: int64(len(data)), ModTime: b.date, Format: tar.FormatPAX, Typeflag: tar.TypeReg}
		if strings.HasSuffix(e.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("tar: %w", err)
	}
	return out.Bytes(), nil
}

func (b *build) zip(name string, entries []entry) error {
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		data, err := e.read()
		if err != nil {
			return err
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: b.date})
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return b.write(name, out.Bytes())
}

// gunzip is for tests and for apt, whose lists are there both ways.
func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_, err = out.ReadFrom(r)
	return out.Bytes(), err
}
