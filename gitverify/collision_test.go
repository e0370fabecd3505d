package gitverify

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"testing"
)

// The only public collision of SHA-1 that is small enough to be written down:
// the first 320 bytes of the two files of https://shattered.io (Stevens,
// Bursztein, Karpman, Albertini, Markov: The first collision for full SHA-1,
// 2017). Both begin alike; the last two blocks differ, and the sums do not.
const (
	shatteredPrefix = "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033" +
		"203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f72" +
		"53706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a7374" +
		"7265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe01"
	shatteredOne = "7346dc9166b67e118f029ab621b2560ff9ca67cca8c7f85ba84c79030c2b3de218f86db3a90901d5df45c14f26fedfb3" +
		"dc38e96ac22fe7bd728f0e45bce046d23c570feb141398bb552ef5a0a82be331fea48037b8b5d71f0e332edf93ac3500" +
		"eb4ddc0decc1a864790c782c76215660dd309791d06bd0af3f98cda4bc4629b1"
	shatteredTwo = "7f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb7" +
		"6038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514" +
		"e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf3f98cda8044629a1"
)

func shattered(t *testing.T) (one, two []byte) {
	t.Helper()
	read := func(blocks string) []byte {
		b, err := hex.DecodeString(shatteredPrefix + blocks)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one, two = read(shatteredOne), read(shatteredTwo)
	if bytes.Equal(one, two) || sha1.Sum(one) != sha1.Sum(two) {
		t.Fatal("these are not the halves of a collision")
	}
	return one, two
}

func sha1Name(data []byte) ID {
	sum := sha1.Sum(data)
	return ID(hex.EncodeToString(sum[:]))
}

func TestNeitherHalfOfACollisionIsTaken(t *testing.T) { // row A28
	t.Parallel()
	one, two := shattered(t)
	for name, half := range map[string][]byte{"the first half": one, "the second half": two} {
		err := checkSum(sha1Name(half), "blob", nil, half)
		var no *Refusal
		if !errors.As(err, &no) || no.Code != codeCollision || no.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
		// The attack's work lies in the last two blocks: one bit less, and it is
		// data like any other.
		twin := bytes.Clone(half)
		twin[len(twin)-1] ^= 1
		if err := checkSum(sha1Name(twin), "blob", nil, twin); err != nil {
			t.Errorf("the twin of %s: %v", name, err)
		}
	}
}

// oneObject is a store with one object in it.
type oneObject struct {
	kind string
	body []byte
}

func (o oneObject) Object(context.Context, ID, int64) (string, []byte, error) {
	return o.kind, o.body, nil
}

func TestTheHeaderOfAnObjectDefusesACollisionThatWasMadeForFiles(t *testing.T) { // row A28
	t.Parallel()
	one, two := shattered(t)
	names := map[ID]bool{}
	for _, half := range [][]byte{one, two} {
		id := sha1Name(append([]byte("blob 320\x00"), half...))
		names[id] = true
		body, err := objectReader{objects: oneObject{"blob", half}}.read(t.Context(), id, "blob", 1000, codeFileSize)
		if err != nil || !bytes.Equal(body, half) {
			t.Errorf("got %v", err)
		}
	}
	if len(names) != 2 {
		t.Error("the two blobs have one name")
	}
}
