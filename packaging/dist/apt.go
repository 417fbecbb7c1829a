package main

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// aptDirectory makes a directory apt that Debian's apt can fetch packages from, over HTTP or
// as file:///: the packages in pool, their lists in dists/stable, signed if there is a key.
func (b *build) aptDirectory(debs []artefact) error {
	lists := map[string][]byte{}
	var archs []string
	for _, d := range debs {
		data, err := os.ReadFile(filepath.Join(b.out, d.name))
		if err != nil {
			return err
		}
		control, err := controlOf(data)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if err := b.write("apt/pool/"+d.name, data); err != nil {
			return err
		}
		stanza := fmt.Appendf(nil, "%s\nFilename: pool/%s\nSize: %d\nMD5sum: %x\nSHA256: %x\n\n", strings.TrimRight(string(control), "\n"), d.name, len(data), md5.Sum(data), sha256.Sum256(data))
		dir := "main/binary-" + d.target.deb + "/"
		lists[dir+"Packages"], lists[dir+"Packages.gz"] = stanza, zipped(stanza)
		archs = append(archs, d.target.deb)
	}
	names := make([]string, 0, len(lists))
	for name, data := range lists {
		names = append(names, name)
		if err := b.write("apt/dists/stable/"+name, data); err != nil {
			return err
		}
	}
	slices.Sort(names)
	slices.Sort(archs)
	var release strings.Builder
	fmt.Fprintf(&release, "Origin: port53\nLabel: port53\nSuite: stable\nCodename: stable\nDate: %s\nArchitectures: %s\nComponents: main\nSHA256:\n", b.date.Format("Mon, 02 Jan 2006 15:04:05 UTC"), strings.Join(archs, " "))
	for _, name := range names {
		fmt.Fprintf(&release, " %x %d %s\n", sha256.Sum256(lists[name]), len(lists[name]), name)
	}
	if err := b.write("apt/dists/stable/Release", []byte(release.String())); err != nil {
		return err
	}
	if b.gpg == "" {
		fmt.Fprintln(b.log, "apt/dists/stable/Release is not signed: no -gpg was given")
		return nil
	}
	return b.signApt(release.String())
}

// signApt signs the list of lists in both ways that apt knows, and puts the key beside it.
func (b *build) signApt(release string) error {
	f, err := os.Open(b.gpg)
	if err != nil {
		return err
	}
	defer f.Close()
	ring, err := openpgp.ReadArmoredKeyRing(f)
	if err != nil {
		return fmt.Errorf("%s: %w", b.gpg, err)
	}
	if len(ring) != 1 || ring[0].PrivateKey == nil || ring[0].PrivateKey.Encrypted {
		return fmt.Errorf("%s: want one secret key without a password", b.gpg)
	}
	config := &packet.Config{}
	var in, detached, public bytes.Buffer
	w, err := clearsign.Encode(&in, ring[0].PrivateKey, config)
	if err == nil {
		_, err = io.WriteString(w, release)
	}
	if err == nil {
		err = w.Close()
	}
	var inRelease []byte
	if err == nil {
		inRelease, err = withChecksum(in.Bytes())
	}
	if err == nil {
		err = openpgp.ArmoredDetachSign(&detached, ring[0], strings.NewReader(release), config)
	}
	if err == nil {
		w, err = armor.Encode(&public, openpgp.PublicKeyType, nil)
	}
	if err == nil {
		err = errors.Join(ring[0].Serialize(w), w.Close())
	}
	if err != nil {
		return err
	}
	public.WriteByte('\n')
	return errors.Join(b.write("apt/dists/stable/InRelease", inRelease), b.write("apt/dists/stable/Release.gpg", detached.Bytes()), b.write("apt/port53.asc", public.Bytes()))
}

// withChecksum returns a signed text with the checksum that the library leaves out below its signature (RFC 9580, section 6.1).
// GnuPG 2.2, and so apt, takes the line below for data where there is none and the data needed no padding: one signature of some
// hundred.
func withChecksum(signed []byte) ([]byte, error) {
	i := bytes.LastIndex(signed, []byte("-----BEGIN "+openpgp.SignatureType))
	block, err := armor.Decode(bytes.NewReader(signed[max(i, 0):]))
	if err != nil {
		return nil, err
	}
	out := bytes.NewBuffer(slices.Clip(signed[:max(i, 0)]))
	w, err := armor.Encode(out, openpgp.SignatureType, block.Header)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(w, block.Body)
	err = errors.Join(err, w.Close())
	out.WriteByte('\n')
	return out.Bytes(), err
}

// controlOf returns the file control of a Debian package.
func controlOf(deb []byte) ([]byte, error) {
	const magic, header = "!<arch>\n", 60
	rest, ok := bytes.CutPrefix(deb, []byte(magic))
	for ok && len(rest) >= header {
		var size int
		if _, err := fmt.Sscanf(string(rest[48:58]), "%d", &size); err != nil || header+size > len(rest) {
			break
		}
		name, data := strings.TrimRight(string(rest[:16]), " /"), rest[header:header+size]
		if name == "control.tar.gz" {
			text, err := gunzip(data)
			if err != nil {
				return nil, err
			}
			for r := tar.NewReader(bytes.NewReader(text)); ; {
				h, err := r.Next()
				if err != nil {
					return nil, err
				}
				if filepath.Base(h.Name) == "control" {
					return io.ReadAll(r)
				}
			}
		}
		rest = rest[min(header+size+size%2, len(rest)):]
	}
	return nil, errors.New("it is no Debian package with a control.tar.gz")
}
