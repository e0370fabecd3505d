package attest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// Inclusion proves that one line is in a list of which only the root is known,
// so that a single object's result can be shown without the others.
type Inclusion struct {
	// Line is the entry as it stands in the list. Index, its place from 0, and Size,
	// the number of lines, say how the hashes are put together: the root vouches for
	// the line and not for them.
	Line  string `json:"line"`
	Index uint64 `json:"index"`
	Size  uint64 `json:"size"`
	// Hashes are the way from the line to the root, hexadecimal.
	Hashes []string `json:"hashes"`
}

// lines of the file, without their ends.
func (l List) lines() [][]byte {
	if len(l.content) == 0 {
		return nil
	}
	return bytes.Split(bytes.TrimSuffix(l.content, []byte("\n")), []byte("\n"))
}

// Root is "sha256:<hex>" of the Merkle tree (RFC 6962) over the lines.
func (l List) Root() string {
	root, err := treeHash(l.lines())
	if err != nil {
		return "" // a list of fewer lines than there are numbers has a root
	}
	return "sha256:" + hex.EncodeToString(root)
}

// Prove makes the proof for an entry; false means that it is not in the list.
func (l List) Prove(e ListEntry) (Inclusion, bool, error) {
	line, err := encode(e)
	if err != nil {
		return Inclusion{}, false, fmt.Errorf("encoding a list entry: %w", err)
	}
	lines := l.lines()
	for i := range lines {
		if !bytes.Equal(lines[i], line) {
			continue
		}
		hashes, err := path6962(lines, i)
		if err != nil {
			return Inclusion{}, false, err
		}
		out := Inclusion{Line: string(line), Index: uint64(i), Size: uint64(len(lines)), Hashes: []string{}}
		for _, h := range hashes {
			out.Hashes = append(out.Hashes, hex.EncodeToString(h))
		}
		return out, true, nil
	}
	return Inclusion{}, false, nil
}

// Verify says whether the line is in the list with a root, "sha256:<hex>". It is
// a [*Refusal] if it is not.
func (p Inclusion) Verify(root string) error {
	const hint = "the proof is of another list, or was edited"
	want, err := hex.DecodeString(bare(root))
	if err != nil || !isDigest(root) {
		return errors.New("the root is no sha256 digest")
	}
	if len(p.Hashes) > bits.UintSize {
		return refuse(CodeRecordDigest, hint, "a proof of %d hashes", len(p.Hashes))
	}
	hashes := make([][]byte, 0, len(p.Hashes))
	for _, h := range p.Hashes {
		sum, err := hex.DecodeString(h)
		if err != nil || len(sum) != rfc6962.DefaultHasher.Size() {
			return refuse(CodeRecordDigest, hint, "a hash of the proof is none")
		}
		hashes = append(hashes, sum)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf([]byte(p.Line))
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, p.Size, leaf, hashes, want); err != nil {
		return refuse(CodeRecordDigest, hint, "%v", err)
	}
	return nil
}

func treeHash(lines [][]byte) ([]byte, error) {
	if len(lines) == 0 {
		return rfc6962.DefaultHasher.EmptyRoot(), nil
	}
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, line := range lines {
		if err := tree.Append(rfc6962.DefaultHasher.HashLeaf(line), nil); err != nil {
			return nil, fmt.Errorf("hashing a list: %w", err)
		}
	}
	return tree.GetRootHash(nil)
}

// path6962 is PATH of RFC 6962, section 2.1.1: the hashes of the other halves,
// from the leaf up.
func path6962(lines [][]byte, i int) ([][]byte, error) {
	if len(lines) <= 1 {
		return nil, nil
	}
	half := 1 << (bits.Len(uint(len(lines)-1)) - 1)
	mine, other, at := lines[:half], lines[half:], i
	if i >= half {
		mine, other, at = other, mine, i-half
	}
	below, err := path6962(mine, at)
	if err != nil {
		return nil, err
	}
	sibling, err := treeHash(other)
	if err != nil {
		return nil, err
	}
	return append(below, sibling), nil
}
