package audit

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/source"
)

// Open reads an export. The history is put below dir, which must be empty and is
// the caller's to remove; everything else is kept in memory. What is wrong with
// the file is Damage of the evidence, and the rest is read all the same; a
// [*attest.Refusal] says that there is no export to audit.
func Open(ctx context.Context, r io.Reader, dir string) (Evidence, error) {
	zipped, err := gzip.NewReader(r)
	if err != nil {
		return Evidence{}, noExport("it is not a gzipped tar: %v", err)
	}
	limited := &io.LimitedReader{R: zipped, N: maxUnpacked}
	o := opener{dir: dir, in: tar.NewReader(limited), bundles: map[string]string{}, seen: map[string]bool{}}
	if err := o.index(); err != nil {
		return Evidence{}, err
	}
	if err := o.files(ctx); err != nil {
		return Evidence{}, err
	}
	if _, err := io.Copy(io.Discard, limited); err != nil {
		o.damage(CodeExportInvalid, 0, "the file is damaged or cut off: %v", err)
	}
	if limited.N <= 0 {
		o.damage(CodeExportTooLarge, 0, "it unfolds to more than %d bytes", int64(maxUnpacked))
	}
	o.records()
	return o.e, nil
}

// opener reads one export.
type opener struct {
	dir string
	in  *tar.Reader
	i   index
	e   Evidence
	// bundles are those that the index names, by file name; seen are the files.
	bundles map[string]string
	seen    map[string]bool
}

// maxDamage bounds what is remembered of what is wrong.
const maxDamage = 100

func (o *opener) damage(code string, sequence int64, format string, args ...any) {
	if len(o.e.Damage) < maxDamage {
		o.e.Damage = append(o.e.Damage, Finding{
			Check: CheckExport, Answer: No, Code: code, Sequence: sequence,
			Detail: fmt.Sprintf(format, args...), Hint: "the export was edited or damaged: make it again, or ask who made it for another",
		})
	}
}

// index reads the first file, which says what the others are.
func (o *opener) index() error {
	h, err := o.in.Next()
	if err != nil {
		return noExport("it has no files: %v", err)
	}
	if h.Name != indexFile || h.Typeflag != tar.TypeReg || h.Size > maxIndex {
		return noExport("it does not begin with %s of at most %d bytes", indexFile, maxIndex)
	}
	dec := json.NewDecoder(o.in)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o.i); err != nil {
		return noExport("%s: %v", indexFile, err)
	}
	if o.i.APIVersion != FormatVersion || o.i.Kind != FormatKind {
		return noExport("it is %q %q, and this program reads %s %s", o.i.APIVersion, o.i.Kind, FormatVersion, FormatKind)
	}
	if len(o.i.Records) > attest.MaxRecords {
		return noExport("it has more than %d records", attest.MaxRecords)
	}
	o.seen[indexFile] = true
	s := o.i.Source
	o.e = Evidence{
		Factory: o.i.Factory, ClusterUID: o.i.ClusterUID, Repository: s.Repository, Ref: s.Ref, Mainline: s.Mainline,
		Anchor: gitverify.ID(s.Anchor), Head: o.i.Head, Companions: map[string]string{}, Files: map[string]bool{},
	}
	return nil
}

// files reads what follows. A file that ends early ends the reading and not the
// audit.
func (o *opener) files(ctx context.Context) error {
	expected := o.expected()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading the export: %w", err)
		}
		h, err := o.in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = o.file(ctx, h, expected)
		}
		if errors.Is(err, errHere) {
			return err
		}
		if err != nil {
			o.damage(CodeExportInvalid, 0, "the file is damaged or cut off: %v", err)
			return nil
		}
		if len(o.seen) > maxFiles {
			o.damage(CodeExportTooLarge, 0, "it has more than %d files", maxFiles)
			return nil
		}
	}
}

// errHere is a fault of this machine, such as a full disk, and not of the file.
var errHere = errors.New("keeping what is in the export")

// expected maps the names that may occur to the numbers of their records.
func (o *opener) expected() map[string]int64 {
	names := map[string]int64{historyFile: 0}
	for _, r := range o.i.Records {
		if strings.HasPrefix(r.File, recordsDir) {
			names[r.File] = r.Sequence
		}
	}
	for _, d := range o.i.Verdicts {
		names[verdictsDir+hexOf(d)+".json"] = 0
	}
	for _, d := range o.i.Manifests {
		names[manifestsDir+hexOf(d)+".yaml"] = 0
	}
	for _, d := range o.i.Lists {
		names[listsDir+hexOf(d)+".jsonl"] = 0
	}
	return names
}

func (o *opener) file(ctx context.Context, h *tar.Header, expected map[string]int64) error {
	sequence, known := expected[h.Name]
	if !known || h.Typeflag != tar.TypeReg || o.seen[h.Name] {
		o.damage(CodeExportForeign, 0, "%.200q is not of the export, or is there twice", h.Name)
		o.seen[h.Name] = true
		return nil
	}
	o.seen[h.Name] = true
	switch {
	case h.Name == historyFile:
		return o.history(ctx)
	case strings.HasPrefix(h.Name, recordsDir), strings.HasPrefix(h.Name, verdictsDir):
		if h.Size > attest.MaxBundle {
			o.damage(CodeBundleTooLarge, sequence, "the bundle has %d bytes, the limit is %d", h.Size, attest.MaxBundle)
			return nil
		}
		data, err := io.ReadAll(o.in)
		if strings.HasPrefix(h.Name, verdictsDir) {
			o.e.Companions[attest.Digest(data)] = string(data) // whatever it is called: records name it by digest
			return err
		}
		o.bundles[h.Name] = string(data)
		return err
	}
	if h.Size > maxManifests {
		o.damage(CodeExportTooLarge, 0, "%.200q has %d bytes, the limit is %d", h.Name, h.Size, maxManifests)
		return nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, o.in); err != nil {
		return err
	}
	digest := hex.EncodeToString(sum.Sum(nil))
	if !strings.Contains(h.Name, "/"+digest+".") {
		o.damage(CodeFileDigest, 0, "%.200q has another content than its name says", h.Name)
		return nil
	}
	o.e.Files["sha256:"+digest] = true
	return nil
}

// history gets the commits into a store of their own. One that cannot be read is
// a finding, and leaves what rests on it open.
func (o *opener) history(ctx context.Context) error {
	store, err := source.OpenBundle(ctx, o.in, filepath.Join(o.dir, "source.git"), maxHistory)
	if _, local := errors.AsType[*os.PathError](err); local {
		return fmt.Errorf("%w: %w", errHere, err)
	}
	if err != nil {
		o.damage(CodeExportHistory, 0, "%s: %v", historyFile, err)
		return ctx.Err()
	}
	o.e.Objects = store
	return nil
}

// records puts bundles to their places in the chain. A place without a bundle is
// left out, so that the chain has a gap there.
func (o *opener) records() {
	for _, r := range o.i.Records {
		bundle, ok := o.bundles[r.File]
		if !ok {
			if !o.seen[r.File] {
				o.damage(CodeExportMissing, r.Sequence, "the index names %.200q, which is not there", r.File)
			}
			continue
		}
		o.e.Records = append(o.e.Records, attest.Record{
			Sequence: r.Sequence, Commit: r.Commit, Digest: r.Digest, Previous: r.Previous, Bundle: bundle,
		})
	}
}
