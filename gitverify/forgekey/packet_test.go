package forgekey

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

func TestAPacketIsCutWhereItsLengthSays(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte{7}, 70_000)
	for name, c := range map[string]struct {
		head    []byte
		size    int
		tag     byte
		minimal bool
		fails   bool
	}{
		"one octet":                           {head: []byte{0xc2, 191}, size: 191, tag: 2, minimal: true},
		"two octets, smallest":                {head: []byte{0xc2, 192, 0}, size: 192, tag: 2, minimal: true},
		"two octets, largest":                 {head: []byte{0xc6, 223, 255}, size: 8383, tag: 6, minimal: true},
		"five octets":                         {head: []byte{0xc2, 255, 0, 1, 0, 0}, size: 65_536, tag: 2, minimal: true},
		"five octets for less":                {head: []byte{0xc2, 255, 0, 0, 0, 9}, size: 9, tag: 2},
		"partial":                             {head: []byte{0xc2, 224}, size: 1, fails: true},
		"two octets, cut":                     {head: []byte{0xc2, 192}, fails: true},
		"five octets, cut":                    {head: []byte{0xc2, 255, 0, 0, 0}, fails: true},
		"old, one octet":                      {head: []byte{0x88, 255}, size: 255, tag: 2, minimal: true},
		"old, two octets":                     {head: []byte{0x99, 1, 0}, size: 256, tag: 6, minimal: true},
		"old, two octets for less":            {head: []byte{0x89, 0, 255}, size: 255, tag: 2},
		"old, four octets":                    {head: []byte{0x8a, 0, 1, 0, 0}, size: 65_536, tag: 2, minimal: true},
		"old, four octets for less":           {head: []byte{0x8a, 0, 0, 255, 255}, size: 65_535, tag: 2},
		"old, two octets, cut":                {head: []byte{0x89, 0}, fails: true},
		"old, four octets, cut":               {head: []byte{0x8a, 0, 0, 0}, fails: true},
		"old, left open":                      {head: []byte{0x8b}, size: 9, fails: true},
		"no packet":                           {head: []byte{0x42, 9}, size: 9, fails: true},
		"nothing":                             {fails: true},
		"a tag alone":                         {head: []byte{0xc2}, fails: true},
		"a length that is more than there is": {head: []byte{0xc2, 10}, size: 9, fails: true},
	} {
		data := slices.Concat(c.head, body[:c.size])
		if !c.fails {
			data = append(data, 0xaa) // the next packet begins here
		}
		p, rest, err := nextPacket(data)
		if (err != nil) != c.fails || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && (p.tag != c.tag || len(p.body) != c.size || p.minimal != c.minimal || !bytes.Equal(rest, []byte{0xaa}) || len(p.whole) != len(data)-1) {
			t.Errorf("%s: tag %d, %d octets, minimal %v, %d left", name, p.tag, len(p.body), p.minimal, len(rest))
		}
	}
}

func TestSubpacketsFillTheirAreaExactly(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte{7}, 8384)
	for name, c := range map[string]struct {
		area []byte
		want int
	}{
		"none":                     {nil, 0},
		"two":                      {[]byte{1, 2, 3, 16, 0, 0}, 2},
		"two octets of length":     {slices.Concat([]byte{192, 0}, long[:192]), 1},
		"many in two octets":       {slices.Concat([]byte{254, 255}, long, long[:16_319-8384]), 1},
		"five octets of length":    {slices.Concat([]byte{255, 0, 0, 0x40, 0xc0}, long, long[:16_576-8384]), 1},
		"five octets for less":     {[]byte{255, 0, 0, 0, 1, 2}, -1},
		"empty":                    {[]byte{0}, -1},
		"longer than its area":     {[]byte{3, 2, 3}, -1},
		"a length that is cut":     {[]byte{192}, -1},
		"a longer one that is cut": {[]byte{255, 0, 0, 0}, -1},
	} {
		got, err := subpackets(c.area)
		if (err != nil) != (c.want < 0) || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && len(got) != c.want {
			t.Errorf("%s: %d subpackets", name, len(got))
		}
	}
	got, err := subpackets([]byte{2, 0x80 | 16, 9})
	if err != nil || !got[0].critical || got[0].kind != 16 || !bytes.Equal(got[0].content, []byte{9}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestANumberHasTheBitsThatItCounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		data          []byte
		size          int
		padded, fails bool
	}{
		"one bit":                   {data: []byte{0, 1, 1}, size: 1},
		"nine bits":                 {data: []byte{0, 9, 1, 255}, size: 2},
		"sixteen bits":              {data: []byte{0, 16, 128, 0}, size: 2},
		"of whole octets":           {data: []byte{0, 16, 0, 255}, size: 2, padded: true},
		"a bit that is not counted": {data: []byte{0, 9, 2, 255}, fails: true},
		"a bit that is not there":   {data: []byte{0, 10, 1, 255}, fails: true},
		"none":                      {data: []byte{0, 0, 1}, fails: true},
		"cut":                       {data: []byte{0, 16, 128}, fails: true},
		"a count alone":             {data: []byte{0, 1}, fails: true},
		"nothing":                   {fails: true},
	} {
		data := c.data
		if !c.fails {
			data = append(data, 0xaa)
		}
		number, rest, padded, err := takeMPI(data)
		if (err != nil) != c.fails || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		} else if err == nil && (len(number) != c.size || padded != c.padded || !bytes.Equal(rest, []byte{0xaa})) {
			t.Errorf("%s: %d octets, padded %v, %d left", name, len(number), padded, len(rest))
		}
	}
}
