package source

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/revlist"

	"millwright.dev/millwright/gitverify"
)

// bundleSignature is the first line of a bundle file of git (gitformat-bundle),
// which stock git clones from.
const bundleSignature = "# v2 git bundle\n"

// Bounds of a bundle's header.
const (
	maxBundleRefs = 100_000
	maxBundleLine = 1 << 10
)

// deltaWindow is how many objects a delta is looked for among, as git has it.
const deltaWindow = 10

// WriteBundle writes all that is reachable from the refs as a bundle file of
// git. What the refs name must be here, with all of its history.
func (s *Store) WriteBundle(ctx context.Context, w io.Writer, refs map[string]gitverify.ID) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var head bytes.Buffer
	head.WriteString(bundleSignature)
	var wants []plumbing.Hash
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		fmt.Fprintf(&head, "%s %s\n", refs[name], name)
		wants = append(wants, plumbing.NewHash(string(refs[name])))
	}
	head.WriteByte('\n')
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, err := revlist.Objects(s.disk, wants, nil)
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return fmt.Errorf("collecting the history: %w", gitverify.ErrObjectMissing)
	}
	if err != nil {
		return fmt.Errorf("collecting the history: %w", err)
	}
	slices.SortFunc(objects, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) }) // same history, same bytes
	if _, err := w.Write(head.Bytes()); err != nil {
		return fmt.Errorf("writing the git bundle: %w", err)
	}
	if _, err := packfile.NewEncoder(w, s.disk, false).Encode(objects, deltaWindow); err != nil {
		return fmt.Errorf("packing the history: %w", err)
	}
	return nil
}

// OpenBundle makes a store below dir, which must be empty, out of a bundle file
// of git. The pack in it is bounded and looked through like one that a server
// sent; maxPack is [DefaultMaxPack] if it is zero. A bundle that builds on
// objects which are not in it is refused.
func OpenBundle(ctx context.Context, r io.Reader, dir string, maxPack int64) (*Store, error) {
	if maxPack <= 0 {
		maxPack = DefaultMaxPack
	}
	in := bufio.NewReaderSize(r, maxBundleLine)
	refs, err := bundleRefs(in)
	if err != nil {
		return nil, fmt.Errorf("reading the git bundle: %w", err)
	}
	s, err := Open(dir)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.take(ctx, in, maxPack); err != nil {
		return nil, err
	}
	for name, id := range refs {
		if err := s.disk.SetReference(plumbing.NewHashReference(name, id)); err != nil {
			return nil, fmt.Errorf("keeping a ref of the git bundle: %w", err)
		}
	}
	return s, nil
}

// bundleRefs reads the header. HEAD is for git clone, and not kept.
func bundleRefs(in *bufio.Reader) (map[plumbing.ReferenceName]plumbing.Hash, error) {
	line, err := in.ReadString('\n')
	if err != nil || line != bundleSignature {
		return nil, errors.New("it does not begin as a git bundle of version 2")
	}
	refs := map[plumbing.ReferenceName]plumbing.Hash{}
	for {
		// The reader's buffer bounds the line.
		raw, err := in.ReadSlice('\n')
		if err != nil {
			return nil, fmt.Errorf("its list of refs is damaged: %w", err)
		}
		line := strings.TrimSuffix(string(raw), "\n")
		if line == "" {
			return refs, nil
		}
		id, name, ok := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "-"):
			return nil, errors.New("it builds on a history that it does not have")
		case !ok || len(id) != 40 || !plumbing.IsHash(id) || len(refs) >= maxBundleRefs:
			return nil, errors.New("its list of refs is damaged")
		case name != "HEAD" && (!validRef.MatchString(name) || strings.Contains(name, "..")):
			return nil, fmt.Errorf("it has a ref %.100q", name)
		case name != "HEAD":
			refs[plumbing.ReferenceName(name)] = plumbing.NewHash(id)
		}
	}
}

// take gets a pack into quarantine, looks through it, and only then gives it to
// the object store. A pack that is cut off, too large or damaged never gets near
// the objects that are there.
func (s *Store) take(ctx context.Context, pack io.Reader, maxPack int64, wants ...plumbing.Hash) error {
	quarantine, err := os.CreateTemp(s.dir, "incoming-*.pack")
	if err != nil {
		return fmt.Errorf("making a file for the pack: %w", err)
	}
	defer os.Remove(quarantine.Name())
	defer quarantine.Close()
	limit := refuse(ReasonSourceUnsupported, fmt.Errorf("the pack is larger than the limit of %d bytes", maxPack))
	size, err := io.Copy(quarantine, &bounded{ReadCloser: io.NopCloser(pack), left: maxPack + 1, end: limit})
	if err != nil {
		return fmt.Errorf("receiving the pack: %w", err)
	}
	if size > maxPack {
		return limit
	}
	if s.interrupt != nil {
		if err := s.interrupt(PointPackHeld); err != nil {
			return fmt.Errorf("receiving the pack: %w", err)
		}
	}
	in, err := inspect(ctx, quarantine, size, maxPack*maxUnfoldRatio)
	if err != nil {
		return fmt.Errorf("the pack of %d bytes is not whole: %w", size, err)
	}
	if _, err := quarantine.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the pack again: %w", err)
	}
	if err := s.store(quarantine, in, wants); err != nil {
		s.sweep()
		s.reopen()
		return fmt.Errorf("storing the pack: %w", err)
	}
	return nil
}
