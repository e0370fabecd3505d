package audit

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/source"
)

// Contents are what an export is made of beside the evidence itself.
type Contents struct {
	// History has the commits of the records, with all that is reachable from
	// them; nil leaves the history out.
	History *source.Store
	// Manifests and Lists are files of the registry.
	Manifests, Lists [][]byte
}

// Write writes an export. The same evidence makes the same bytes, as long as
// the history is packed by the same program.
func Write(ctx context.Context, w io.Writer, e Evidence, c Contents) error {
	if len(e.Records) > attest.MaxRecords {
		return fmt.Errorf("writing the export: more than %d records", attest.MaxRecords)
	}
	history, err := packed(ctx, e, c)
	if err != nil {
		return err
	}
	if history != nil {
		defer os.Remove(history.Name())
		defer history.Close()
	}
	zipped := gzip.NewWriter(w)
	out := tar.NewWriter(zipped)
	if err := writeFiles(out, e, c, history); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	if err := errors.Join(out.Close(), zipped.Close()); err != nil {
		return fmt.Errorf("writing the export: %w", err)
	}
	return nil
}

func writeFiles(out *tar.Writer, e Evidence, c Contents, history *os.File) error {
	i, bundles := indexOf(e, c)
	data, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	if err := put(out, indexFile, append(data, '\n')); err != nil {
		return err
	}
	for n, r := range i.Records {
		if err := put(out, r.File, []byte(bundles[n])); err != nil {
			return err
		}
	}
	for _, digest := range i.Verdicts {
		if err := put(out, verdictsDir+hexOf(digest)+".json", []byte(e.Companions[digest])); err != nil {
			return err
		}
	}
	for n, digest := range i.Manifests {
		if err := put(out, manifestsDir+hexOf(digest)+".yaml", c.Manifests[n]); err != nil {
			return err
		}
	}
	for n, digest := range i.Lists {
		if err := put(out, listsDir+hexOf(digest)+".jsonl", c.Lists[n]); err != nil {
			return err
		}
	}
	if history == nil {
		return nil
	}
	size, err := history.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := history.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := out.WriteHeader(header(historyFile, size)); err != nil {
		return err
	}
	_, err = io.Copy(out, history)
	return err
}

// indexOf is the index, and the bundle of each of its records.
func indexOf(e Evidence, c Contents) (index, []string) {
	i := index{
		APIVersion: FormatVersion, Kind: FormatKind, Factory: e.Factory, ClusterUID: e.ClusterUID, Head: e.Head,
		Source:  indexSource{Repository: e.Repository, Ref: e.Ref, Mainline: e.Mainline, Anchor: string(e.Anchor)},
		Records: []indexRecord{}, Verdicts: append([]string{}, slices.Sorted(maps.Keys(e.Companions))...), Manifests: digests(c.Manifests), Lists: digests(c.Lists),
	}
	again := map[int64]int{}
	bundles := make([]string, 0, len(e.Records))
	for _, r := range e.Records {
		i.Records = append(i.Records, indexRecord{
			Sequence: r.Sequence, Commit: r.Commit, Digest: r.Digest, Previous: r.Previous, File: recordFile(r.Sequence, again[r.Sequence]),
		})
		again[r.Sequence]++
		bundles = append(bundles, r.Bundle)
	}
	return i, bundles
}

func digests(files [][]byte) []string {
	all := make([]string, 0, len(files))
	for _, f := range files {
		all = append(all, attest.Digest(f))
	}
	return all
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

// header is that of a file in an export: nothing of the machine gets into it.
func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
}

func put(out *tar.Writer, name string, data []byte) error {
	if err := out.WriteHeader(header(name, int64(len(data)))); err != nil {
		return err
	}
	_, err := out.Write(data)
	return err
}

// packed is the history in a temporary file: a tar wants to know the size first.
func packed(ctx context.Context, e Evidence, c Contents) (*os.File, error) {
	if c.History == nil {
		return nil, nil //nolint:nilnil // no history is an answer
	}
	refs, err := refsOf(ctx, e, c.History)
	if err != nil || len(refs) == 0 {
		return nil, err
	}
	file, err := os.CreateTemp("", "millwright-history-*.bundle")
	if err != nil {
		return nil, fmt.Errorf("making a file for the history: %w", err)
	}
	if err := c.History.WriteBundle(ctx, file, refs); err != nil {
		_ = file.Close()
		_ = os.Remove(file.Name())
		return nil, fmt.Errorf("exporting the history: %w", err)
	}
	return file, nil
}

// refsOf names the newest commit as the followed branch and as HEAD, so that git
// clone gives it, and every revision by its record: a forged one may lie on no
// line of the newest, or not be there at all.
func refsOf(ctx context.Context, e Evidence, h *source.Store) (map[string]gitverify.ID, error) {
	refs := map[string]gitverify.ID{}
	before := ""
	for _, r := range e.Records {
		if r.Commit == before { // drift records follow their revision
			continue
		}
		before = r.Commit
		_, _, err := h.Object(ctx, gitverify.ID(r.Commit), maxCommit)
		if errors.Is(err, gitverify.ErrObjectMissing) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking for the commit of record %d: %w", r.Sequence, err)
		}
		refs[fmt.Sprintf("refs/tags/applied/%010d", r.Sequence)] = gitverify.ID(r.Commit)
		refs[branchOf(e.Ref, e.Mainline)] = gitverify.ID(r.Commit)
	}
	if newest, ok := refs[branchOf(e.Ref, e.Mainline)]; ok {
		refs["HEAD"] = newest
	}
	return refs, nil
}

// maxCommit bounds a commit that is looked for.
const maxCommit = 1 << 20

// branchOf is the branch whose history counts: the followed ref, or where that
// is a tag, the one that the tag's commit has to be on (rule T14).
func branchOf(ref, mainline string) string {
	switch {
	case strings.HasPrefix(ref, "refs/heads/"):
		return ref
	case mainline != "":
		return mainline
	}
	return "refs/heads/main"
}
