package source

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// deltaPack is a pack of one large blob of zeroes and n offset deltas on it,
// each of which copies all of it in a few bytes (gitformat-pack).
func deltaPack(t *testing.T, size, n int) []byte {
	t.Helper()
	var pack bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&pack, binary.BigEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	deflated := func(b []byte) []byte {
		var out bytes.Buffer
		w := zlib.NewWriter(&out)
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	write([]byte("PACK"))
	write(uint32(2))
	write(uint32(n + 1))
	last := pack.Len()
	write(objectHeader(3, size))
	write(deflated(make([]byte, size)))
	for range n {
		delta := append(number(size), number(size)...)
		for at := 0; at < size; at += 0xffff { // copy at most 64 KiB at a time
			length := min(0xffff, size-at)
			delta = append(delta, 0x80|0x0f|0x30, byte(at), byte(at>>8), byte(at>>16), byte(at>>24), byte(length), byte(length>>8))
		}
		here := pack.Len()
		write(objectHeader(6, len(delta)))
		write(offset(here - last))
		write(deflated(delta))
		last = here
	}
	sum := sha1.Sum(pack.Bytes())
	write(sum[:])
	return pack.Bytes()
}

func objectHeader(kind, size int) []byte {
	b := []byte{byte(kind<<4) | byte(size&15)}
	for size >>= 4; size > 0; size >>= 7 {
		b[len(b)-1] |= 0x80
		b = append(b, byte(size&127))
	}
	return b
}

func number(n int) (b []byte) {
	for ; n > 127; n >>= 7 {
		b = append(b, byte(n&127)|0x80)
	}
	return append(b, byte(n))
}

func offset(n int) []byte {
	b := []byte{byte(n & 127)}
	for n >>= 7; n > 0; n >>= 7 {
		n--
		b = append([]byte{byte(n&127) | 0x80}, b...)
	}
	return b
}

func TestSmallDeltasThatUnfoldToGigabytesAreNotIndexed(t *testing.T) { // row E04
	t.Parallel()
	const size = 16 << 20
	twin := deltaPack(t, size, 3)
	if _, err := inspect(t.Context(), bytes.NewReader(twin), int64(len(twin)), 1<<40); err != nil {
		t.Fatalf("a few large deltas: %v", err)
	}
	pack := deltaPack(t, size, maxLargeDeltas/size+1)
	_, err := inspect(t.Context(), bytes.NewReader(pack), int64(len(pack)), 1<<40)
	var no *Error
	if !errors.As(err, &no) || !strings.Contains(err.Error(), "large deltas") {
		t.Errorf("a pack of %d bytes: %v", len(pack), err)
	}
}
