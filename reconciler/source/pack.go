package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// Bounds of what a pack may unfold to. Indexing holds an object in memory, so
// that one megabyte of zeroes, deflated, must not become a hundred gigabytes
// (attack row E04).
const (
	maxObject      = 32 << 20 // the verifier reads none over 16 MiB
	maxObjects     = 4 << 20
	maxUnfoldRatio = 32 // of all objects together, over the limit of the pack
	// Indexing keeps what large deltas unfold to and walks their chains again
	// and again: a few hundred bytes each would cost gigabytes and minutes.
	largeDelta     = 1 << 20
	maxLargeDeltas = 1 << 30 // bytes of all large deltas together
)

// receive fetches a pack and takes it in.
func (s *Store) receive(ctx context.Context, from session, request *packp.UploadPackRequest, maxPack int64) error {
	answer, err := from.UploadPack(ctx, request)
	if err != nil {
		return err
	}
	defer answer.Close() //nolint:errcheck // read side only
	return s.take(ctx, demultiplexed(request, answer), maxPack, request.Wants...)
}

// demultiplexed takes the pack out of the side-band; progress is dropped.
func demultiplexed(request *packp.UploadPackRequest, answer io.Reader) io.Reader {
	switch {
	case request.Capabilities.Supports(capability.Sideband64k):
		return sideband.NewDemuxer(sideband.Sideband64k, answer)
	case request.Capabilities.Supports(capability.Sideband):
		return sideband.NewDemuxer(sideband.Sideband, answer)
	}
	return answer
}

// contents is what is in a pack: how many objects, and how many bytes of them when
// they are unfolded.
type contents struct {
	objects  uint32
	unfolded int64
}

// inspect reads a pack from end to end: every object is there, has the size it
// claims and is within bounds, and the checksum over all of it agrees.
func inspect(ctx context.Context, pack io.ReadSeeker, size, maxUnfolded int64) (contents, error) {
	if _, err := pack.Seek(0, io.SeekStart); err != nil {
		return contents{}, err
	}
	scanner := packfile.NewScanner(pack)
	_, count, err := scanner.Header()
	if err != nil {
		return contents{}, unexpected(err)
	}
	if count > maxObjects {
		return contents{}, refuse(ReasonSourceUnsupported, fmt.Errorf("the pack claims %d objects, the limit is %d", count, maxObjects))
	}
	in := contents{objects: count}
	var deltas int64
	for range count {
		if err := ctx.Err(); err != nil {
			return in, err
		}
		grown, delta, err := inspectObject(scanner)
		if err != nil {
			return in, unexpected(err)
		}
		if delta && grown > largeDelta {
			deltas += grown
		}
		if deltas > maxLargeDeltas {
			return in, refuse(ReasonSourceUnsupported, fmt.Errorf("the large deltas of the pack unfold to more than %d bytes", maxLargeDeltas))
		}
		if in.unfolded += grown; in.unfolded > maxUnfolded {
			return in, refuse(ReasonSourceUnsupported, fmt.Errorf("the pack unfolds to more than %d bytes", maxUnfolded))
		}
	}
	if _, err := scanner.Checksum(); err != nil {
		return in, unexpected(err)
	}
	if end, err := scanner.SeekFromStart(0); err != nil || end != size {
		return in, fmt.Errorf("it has %d bytes after its end", size-end)
	}
	return in, nil
}

// inspectObject returns the number of bytes that the next object unfolds to,
// and whether it is a delta.
func inspectObject(scanner *packfile.Scanner) (grown int64, delta bool, err error) {
	header, err := scanner.NextObjectHeader()
	if err != nil {
		return 0, false, err
	}
	tooLarge := func(size int64) error {
		return refuse(ReasonSourceUnsupported, fmt.Errorf("an object of %d bytes is in the pack, the limit is %d", size, maxObject))
	}
	if header.Length < 0 || header.Length > maxObject {
		return 0, false, tooLarge(header.Length)
	}
	begin := &prefix{}
	if _, _, err := scanner.NextObject(begin); err != nil {
		return 0, false, err
	}
	if !header.Type.IsDelta() {
		return header.Length, false, nil
	}
	// A delta begins with the size of its base and the size of its result.
	_, rest := deltaSize(begin.bytes)
	result, _ := deltaSize(rest)
	if result < 0 || result > maxObject {
		return 0, true, tooLarge(result)
	}
	return result, true, nil
}

// deltaSize reads a number of a delta's header (gitformat-pack); -1 is one that
// does not end or does not fit.
func deltaSize(b []byte) (size int64, rest []byte) {
	for i, c := range b {
		if i == 8 {
			break
		}
		size |= int64(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			return size, b[i+1:]
		}
	}
	return -1, nil
}

// prefix keeps the first bytes that are written to it.
type prefix struct{ bytes []byte }

func (p *prefix) Write(b []byte) (int, error) {
	p.bytes = append(p.bytes, b[:min(len(b), 32-len(p.bytes))]...)
	return len(b), nil
}

// unexpected keeps an end that came too early from being taken for the end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, packfile.ErrEmptyPackfile) {
		return fmt.Errorf("it ends too early: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// sweep removes what a broken fetch, or a process that ended in one, left.
func (s *Store) sweep() {
	for _, pattern := range []string{"incoming-*.pack", "objects/pack/tmp_pack_*", "objects/pack/tmp_obj_*"} {
		left, _ := filepath.Glob(filepath.Join(s.dir, pattern)) // the patterns are good
		for _, path := range left {
			_ = os.Remove(path)
		}
	}
}
