package main

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of bills of materials.
const (
	reasonProgram = "sbom/program"
	reasonCreated = "sbom/created"
)

// maxModules bounds what a program may claim to be made of.
const maxModules = 10_000

// sbom says what a Go program is made of. The source is what the linker wrote
// into the program, so it is as true as the build was: what it says of a
// program that somebody forged, somebody forged.
func sbom(_ context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sbom", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder that the program is below (required)")
	program := flags.String("program", "", "file, below the folder (required)")
	created := flags.String("created", "1970-01-01T00:00:00Z", "time of the document, RFC 3339 in UTC: the same for the same commit")
	to := flags.String("out", "", "file for the document (required)")
	result := flags.String("result-digest", "", "file for the sha256 of the document")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if *dir == "" || *to == "" {
		return refusal.Usage("-dir, -program and -out are required")
	}
	if err := cleanName(*program); err != nil {
		return err
	}
	when, err := time.Parse(time.RFC3339, *created)
	if err != nil || when.UTC().Format(time.RFC3339) != *created {
		return refusal.New(reasonCreated, "write it like 2026-11-27T00:00:00Z", "%q is no time in UTC", *created)
	}
	subject, info, err := examine(*dir, *program)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(describe(subject, info, *created), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(*to, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing the document: %w", err)
	}
	sum := sha256.Sum256(append(b, '\n'))
	digest := "sha256:" + hex.EncodeToString(sum[:])
	fmt.Fprintf(out, "%s %s\n", *program, digest)
	return writeResult(*result, digest)
}

// file is a program with its digests, in hex.
type file struct{ name, sha1, sha256 string }

func examine(dir, name string) (file, *debug.BuildInfo, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return file{}, nil, fmt.Errorf("opening the folder: %w", err)
	}
	defer root.Close()
	f, stat, err := openRegular(root, name)
	if err != nil {
		return file{}, nil, fmt.Errorf("opening the program: %w", err)
	}
	defer f.Close()
	if stat.Size() > maxImageFile {
		return file{}, nil, refusal.New(reasonTooLarge, "make the program smaller", "%q has %d bytes", name, stat.Size())
	}
	one, two := sha1.New(), sha256.New()
	if _, err := io.Copy(io.MultiWriter(one, two), io.LimitReader(f, maxImageFile)); err != nil {
		return file{}, nil, fmt.Errorf("reading the program: %w", err)
	}
	info, err := readBuildInfo(f)
	if err != nil {
		return file{}, nil, refusal.New(reasonProgram, "build it with go, and do not strip its build information", "%q is no Go program: %v", name, err)
	}
	if len(info.Deps) > maxModules {
		return file{}, nil, refusal.New(reasonTooLarge, "use fewer modules", "%d modules", len(info.Deps))
	}
	return file{name: name, sha1: hex.EncodeToString(one.Sum(nil)), sha256: hex.EncodeToString(two.Sum(nil))}, info, nil
}

// readBuildInfo survives what the parsers of executables do not promise to.
func readBuildInfo(r io.ReaderAt) (info *debug.BuildInfo, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("its headers make no sense")
		}
	}()
	return buildinfo.Read(r)
}

// describe is pure: the same program gives the same bytes.
func describe(f file, info *debug.BuildInfo, created string) spdxDocument {
	program := spdxPackage{
		ID: "SPDXRef-Package-program", Name: f.name, Purpose: "APPLICATION", Comment: settings(info),
		Checksums: []spdxChecksum{{"SHA1", f.sha1}, {"SHA256", f.sha256}},
	}
	doc := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: f.name,
		// Unique and the same for the same program, which is what SPDX asks of it.
		Namespace:     "https://millwright.dev/spdx/sha256-" + f.sha256,
		CreationInfo:  spdxCreation{Created: created, Creators: []string{"Tool: millwright-step-sbom"}},
		Packages:      []spdxPackage{program},
		Relationships: []spdxRelationship{{"SPDXRef-DOCUMENT", "DESCRIBES", program.ID}},
	}
	version := strings.TrimPrefix(info.GoVersion, "go")
	modules := []debug.Module{{Path: "std", Version: version}}
	if info.Main.Path != "" {
		modules = append(modules, info.Main)
	}
	for _, m := range info.Deps {
		modules = append(modules, *m)
	}
	for _, m := range modules {
		p := modulePackage(m)
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, spdxRelationship{program.ID, "CONTAINS", p.ID})
	}
	return doc.strict()
}

// modulePackage describes a module by what was compiled: its replacement, if it
// has one.
func modulePackage(m debug.Module) spdxPackage {
	comment := ""
	if m.Replace != nil {
		comment = fmt.Sprintf("in place of %s %s", m.Path, m.Version)
		m = *m.Replace
	}
	// The checksum of a module is over a list of its files; SPDX has no name for
	// it, and calling it the SHA-256 of an archive would be wrong.
	if m.Sum != "" {
		comment = strings.TrimPrefix(comment+"; go.sum "+m.Sum, "; ")
	}
	version := m.Version
	if version == "(devel)" {
		version = ""
	}
	p := spdxPackage{ID: moduleID(m), Name: m.Path, VersionInfo: version, Purpose: "LIBRARY", Comment: comment}
	purl := "pkg:golang/" + purlPath(m.Path)
	if version != "" {
		purl += "@" + purlVersion(version)
	}
	p.References = []spdxReference{{"PACKAGE-MANAGER", "purl", purl}}
	return p
}

// moduleID is a digest, because identifiers have letters, digits, dots and
// hyphens only, and two paths must not become the same one.
func moduleID(m debug.Module) string {
	sum := sha256.Sum256([]byte(m.Path + "@" + m.Version))
	return "SPDXRef-Package-" + hex.EncodeToString(sum[:10])
}

// settings are what the build was told, without what it says of Git.
func settings(info *debug.BuildInfo) string {
	parts := []string{"built with " + info.GoVersion}
	for _, s := range info.Settings {
		if s.Value != "" && !strings.HasPrefix(s.Key, "vcs") {
			parts = append(parts, s.Key+"="+s.Value)
		}
	}
	slices.Sort(parts[1:])
	return strings.Join(parts, " ")
}
