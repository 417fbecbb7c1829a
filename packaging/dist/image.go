package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// nobody is the user of the image.
const nobody = 65532

// image makes one image of all programs, an OCI layout in an archive: for each of the
// architectures, with an index. It has the program and its directories, and nothing else.
func (b *build) image(programs []artefact) (string, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range programs {
		img, err := b.imageOf(p.target, p.name)
		if err != nil {
			return "", err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: p.target.arch, Variant: map[string]string{"7": "v7"}[p.target.variant]},
		}})
	}
	dir, err := os.MkdirTemp("", "port53-dist")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	// The layout's own index names ours, as a registry's tag would.
	outer := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{
		Annotations: map[string]string{"org.opencontainers.image.ref.name": b.version},
	}})
	if _, err := layout.Write(dir, outer); err != nil {
		return "", err
	}
	var entries []entry
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		entries = append(entries, entry{name: filepath.ToSlash(name), mode: 0o644, file: path})
		return err
	})
	if err != nil {
		return "", err
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	text, err := b.tar(entries)
	if err != nil {
		return "", err
	}
	name := "port53_" + b.version + "_oci.tar"
	return name, b.write(name, text)
}

// imageOf makes the image of one architecture.
func (b *build) imageOf(t target, program string) (v1.Image, error) {
	layer, err := b.tar([]entry{
		{name: "etc/", mode: 0o755},
		{name: "etc/port53/", mode: 0o755},
		{name: "port53", mode: 0o755, file: program},
		{name: "run/", mode: 0o755},
		{name: "run/port53/", mode: 0o750, uid: nobody},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: "var/lib/port53/", mode: 0o750, uid: nobody},
	})
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{
		Layer:   static.NewLayer(zipped(layer), types.OCILayer),
		History: v1.History{Created: v1.Time{Time: b.date}, CreatedBy: "packaging/dist"},
	})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	diff, err := diffID(layer)
	if err != nil {
		return nil, err
	}
	config.RootFS.DiffIDs = []v1.Hash{diff}
	config.OS, config.Architecture, config.Variant = "linux", t.arch, map[string]string{"7": "v7"}[t.variant]
	config.Created = v1.Time{Time: b.date}
	config.Config = v1.Config{
		User: "65532:65532", Entrypoint: []string{"/port53"}, Cmd: []string{"serve"}, WorkingDir: "/etc/port53",
		ExposedPorts: map[string]struct{}{"53/tcp": {}, "53/udp": {}},
		Volumes:      map[string]struct{}{"/var/lib/port53": {}},
		Healthcheck:  &v1.HealthConfig{Test: []string{"CMD", "/port53", "status"}, Interval: 30 * time.Second, Timeout: 5 * time.Second, StartPeriod: 10 * time.Second},
		Labels: map[string]string{
			"org.opencontainers.image.title": "port53", "org.opencontainers.image.version": b.version, "org.opencontainers.image.revision": b.commit,
			"org.opencontainers.image.created": b.date.Format(time.RFC3339), "org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(img, config)
}

func diffID(layer []byte) (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(layer))
	return h, err
}
