package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"
)

// bom writes the bill of materials of a program: the modules that it was linked from, as the
// program itself tells. The kind is cdx (CycloneDX 1.5) or spdx (SPDX 2.3).
func (b *build) bom(kind string, t target, program string) (string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return "", err
	}
	sum, err := sumOf(program)
	if err != nil {
		return "", err
	}
	text := b.cycloneDX(info, sum)
	if kind == "spdx" {
		text = b.spdx(info, sum)
	}
	data, err := json.MarshalIndent(text, "", "  ")
	if err != nil {
		return "", err
	}
	name := "port53_" + b.version + "_" + t.file() + "." + kind + ".json"
	return name, b.write(name, append(data, '\n'))
}

func packageURL(m *debug.Module) string {
	return "pkg:golang/" + strings.ToLower(m.Path) + "@" + m.Version
}

// uuid returns a name for a document that only the same program has (RFC 9562, section 5.8).
func uuid(sum string) string {
	h := sha256.Sum256([]byte("port53 bill of materials " + sum))
	h[6], h[8] = h[6]&0x0F|0x80, h[8]&0x3F|0x80
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}

func (b *build) cycloneDX(info *debug.BuildInfo, sum string) any {
	type object = map[string]any
	components := []object{{"type": "library", "bom-ref": "go", "name": "Go standard library", "version": strings.TrimPrefix(info.GoVersion, "go"), "purl": "pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}}
	refs := []string{"go"}
	for _, m := range info.Deps {
		c := object{"type": "library", "bom-ref": packageURL(m), "name": m.Path, "version": m.Version, "purl": packageURL(m)}
		if m.Sum != "" {
			c["properties"] = []object{{"name": "golang:h1", "value": m.Sum}}
		}
		components, refs = append(components, c), append(refs, packageURL(m))
	}
	return object{
		"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": "urn:uuid:" + uuid(sum), "version": 1,
		"metadata": object{
			"timestamp": b.date.Format(time.RFC3339),
			"component": object{
				"type": "application", "bom-ref": "port53", "name": "port53", "version": b.version,
				"hashes": []object{{"alg": "SHA-256", "content": sum}}, "licenses": []object{{"license": object{"id": "Apache-2.0"}}},
			},
		},
		"components": components, "dependencies": []object{{"ref": "port53", "dependsOn": refs}},
	}
}

func (b *build) spdx(info *debug.BuildInfo, sum string) any {
	type object = map[string]any
	packages := []object{{
		"name": "port53", "SPDXID": "SPDXRef-port53", "versionInfo": b.version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
		"licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION",
		"checksums": []object{{"algorithm": "SHA256", "checksumValue": sum}},
	}}
	relations := []object{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-port53"}}
	add := func(id, name, version, url string) {
		packages = append(packages, object{
			"name": name, "SPDXID": id, "versionInfo": version, "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
			"licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
			"externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}},
		})
		relations = append(relations, object{"spdxElementId": "SPDXRef-port53", "relationshipType": "DEPENDS_ON", "relatedSpdxElement": id})
	}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	add("SPDXRef-go", "Go standard library", goVersion, "pkg:golang/std@"+goVersion)
	for i, m := range info.Deps {
		add(fmt.Sprintf("SPDXRef-module-%d", i+1), m.Path, m.Version, packageURL(m))
	}
	return object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "port53-" + b.version,
		"documentNamespace": "urn:uuid:" + uuid("spdx "+sum),
		"creationInfo":      object{"created": b.date.Format(time.RFC3339), "creators": []string{"Tool: port53-dist"}},
		"packages":          packages, "relationships": relations,
	}
}

// provenance writes how the artefacts were made, as an in-toto statement with the predicate of
// SLSA 1.0. It is signed as all else is: by its sum.
func (b *build) provenance(names []string) (string, error) {
	type object = map[string]any
	subjects := make([]object, 0, len(names))
	for _, name := range names {
		sum, err := sumOf(filepath.Join(b.out, name))
		if err != nil {
			return "", err
		}
		subjects = append(subjects, object{"name": name, "digest": object{"sha256": sum}})
	}
	statement := object{
		"_type": "https://in-toto.io/Statement/v1", "subject": subjects, "predicateType": "https://slsa.dev/provenance/v1",
		"predicate": object{
			"buildDefinition": object{
				"buildType": "urn:port53:make-dist:1", "externalParameters": object{"command": "make dist", "version": b.version},
				"resolvedDependencies": []object{{"uri": "git+port53@" + b.commit, "digest": object{"gitCommit": b.commit}}},
			},
			"runDetails": object{"builder": object{"id": "urn:port53:packaging/dist"}, "metadata": object{"startedOn": b.date.Format(time.RFC3339)}},
		},
	}
	data, err := json.MarshalIndent(statement, "", "  ")
	if err != nil {
		return "", err
	}
	name := "port53_" + b.version + ".provenance.json"
	return name, b.write(name, append(data, '\n'))
}
