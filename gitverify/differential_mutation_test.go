package gitverify_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// mutation is a commit with a small change, at the offset.
type mutation struct {
	op    string
	at    int
	with  []byte
	bytes []byte
	// where is the part of the commit that was hit: a header's key, "message",
	// "armour" of the signature, or a part of what is in it.
	where string
}

func (m mutation) String() string {
	return fmt.Sprintf("%s at %d (%s) %q", m.op, m.at, m.where, m.with)
}

// mutate changes a commit a little: a bit, a byte or a line.
func mutate(rng *rand.Rand, good []byte) mutation {
	m := mutation{at: rng.IntN(len(good))}
	interesting := []byte("\n\r\t \x00-<>=\xff\x0b")
	switch m.op = []string{"flip", "set", "insert", "delete", "double", "cut", "space", "der"}[rng.IntN(8)]; m.op {
	case "der": // inside the signature, which is armoured again
		return mutateDER(rng, good)
	case "flip":
		m.with = []byte{good[m.at] ^ 1<<rng.IntN(8)}
		m.bytes = splice(good, m.at, 1, m.with)
	case "set":
		m.with = []byte{interesting[rng.IntN(len(interesting))]}
		m.bytes = splice(good, m.at, 1, m.with)
	case "insert":
		m.with = []byte{interesting[rng.IntN(len(interesting))]}
		m.bytes = splice(good, m.at, 0, m.with)
	case "delete":
		m.bytes = splice(good, m.at, 1, nil)
	case "double": // a whole line again
		start := bytes.LastIndexByte(good[:m.at], '\n') + 1
		end := m.at + bytes.IndexByte(good[m.at:], '\n') + 1
		m.at, m.with = start, bytes.Clone(good[start:end])
		m.bytes = splice(good, start, 0, m.with)
	case "cut": // all after the offset
		m.bytes = bytes.Clone(good[:m.at])
	case "space": // around a line's end, where lenient readers are lenient
		m.at += bytes.IndexByte(good[m.at:], '\n')
		m.with = [][]byte{[]byte(" "), []byte("\r"), []byte("\t")}[rng.IntN(3)]
		m.at += rng.IntN(2)
		m.bytes = splice(good, min(m.at, len(good)), 0, m.with)
	}
	m.where = partOf(good, min(m.at, len(good)-1))
	if m.where == "armour" {
		m.where = inArmour(good, m.bytes)
	}
	return m
}

// inArmour names the part of the signature that a change of the armour changed:
// the armour alone, if a lenient reader finds the same bytes in it.
func inArmour(good, bad []byte) string {
	before, after := unarmoured(good), unarmoured(bad)
	if after == nil {
		return "armour"
	}
	for i := range before {
		if i >= len(after) || before[i] != after[i] {
			return partOfSignature(before, i)
		}
	}
	return "armour"
}

// unarmoured reads as leniently as can be; nil if there is nothing to be read.
func unarmoured(commit []byte) []byte {
	_, rest, _ := bytes.Cut(commit, []byte("-----BEGIN SIGNED MESSAGE-----"))
	text, _, _ := bytes.Cut(rest, []byte("-----END"))
	der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		return nil
	}
	return der
}

func splice(b []byte, at, drop int, with []byte) []byte {
	return bytes.Join([][]byte{b[:at], with, b[min(at+drop, len(b)):]}, nil)
}

// partOf names the part of a signed commit at an offset.
func partOf(good []byte, at int) string {
	end := bytes.Index(good, []byte("\n\n")) + 1
	sig := bytes.Index(good, []byte("gpgsig "))
	switch {
	case at > end:
		return "message"
	case at >= sig && at < end:
		return "armour"
	}
	key, _, _ := strings.Cut(string(good[bytes.LastIndexByte(good[:at], '\n')+1:]), " ")
	return key
}

// mutateDER changes a byte of the signature and armours it again.
func mutateDER(rng *rand.Rand, good []byte) mutation {
	start := bytes.Index(good, []byte("gpgsig ")) + len("gpgsig ")
	end := start + bytes.Index(good[start:], []byte("-----END SIGNED MESSAGE-----\n")) + len("-----END SIGNED MESSAGE-----")
	block := &pem.Block{Type: "SIGNED MESSAGE", Bytes: unarmoured(good)}
	at := rng.IntN(len(block.Bytes))
	m := mutation{op: "der", at: at, where: partOfSignature(block.Bytes, at), with: []byte{block.Bytes[at] ^ 1<<rng.IntN(8)}}
	block.Bytes = splice(block.Bytes, at, 1, m.with)
	armored := bytes.TrimRight(pem.EncodeToMemory(block), "\n")
	m.bytes = splice(good, start, end-start, bytes.ReplaceAll(armored, []byte("\n"), []byte("\n ")))
	return m
}

// partOfSignature names the part of the CMS value (RFC 5652 §5) at an offset.
func partOfSignature(der []byte, at int) string {
	names := map[string]string{
		".1.0.0": "version", ".1.0.1": "digest algorithms", ".1.0.2": "content type", ".1.0.3": "certificates",
		".1.0.4.0.0": "signer version", ".1.0.4.0.1": "signer name", ".1.0.4.0.2": "signer digest algorithm",
		".1.0.4.0.3": "signed attributes", ".1.0.4.0.4": "signature algorithm", ".1.0.4.0.5": "signature", ".1.0.4.0.6": "log entry",
	}
	path, name := "", "content info"
	for rest, base := der, 0; ; {
		var outer asn1.RawValue
		if _, err := asn1.Unmarshal(rest, &outer); err != nil || !outer.IsCompound {
			return name
		}
		base += len(outer.FullBytes) - len(outer.Bytes)
		i, inner, found := 0, outer.Bytes, false
		for ; len(inner) > 0 && !found; i++ {
			var child asn1.RawValue
			next, err := asn1.Unmarshal(inner, &child)
			if err != nil {
				return name
			}
			if found = at >= base && at < base+len(child.FullBytes); found {
				rest, path = child.FullBytes, fmt.Sprintf("%s.%d", path, i)
			} else {
				base += len(child.FullBytes)
			}
			inner = next
		}
		if !found {
			return name // in the tag or the length
		}
		if n, ok := names[path]; ok {
			name = n
		}
	}
}

// kind is a kind of disagreement over a mutation, in which we are right.
type kind struct {
	want string // ours, gitsign, git
	fits func(m mutation) bool
	why  string
}

// explain finds the kind of a disagreement, or nothing.
func explain(m mutation, o opinions) string {
	for _, k := range kinds() {
		if k.want == o.String()[:3] && k.fits(m) {
			return k.why
		}
	}
	return ""
}

// kinds is the table of disagreements over mutations.
func kinds() []kind {
	in := func(parts ...string) func(m mutation) bool {
		return func(m mutation) bool { return slices.Contains(parts, m.where) }
	}
	lineEnd := func(m mutation) bool {
		return !in("armour")(m) && (bytes.HasSuffix(m.with, []byte("\r")) || m.where == "message" && (m.op == "cut" || m.op == "delete"))
	}
	secondHeader := func(m mutation) bool { return m.op == "double" && bytes.HasPrefix(m.with, []byte("gpgsig ")) }
	return []kind{
		{"NYN", lineEnd, "gitsign reads lines: a carriage return or a missing last line end is other bytes, which were not signed"},
		{"NYY", in("armour"), "nothing signs white space in the armour, or lines after it: one signed content would have many ids (T9)"},
		{"NYN", in("armour"), "the same, where for git the signature ends before"},
		{"NNY", secondHeader, "git takes two headers for one; which of them counts must not depend on the reader (A07)"},
		{"NYY", in("content info", "version", "content type", "signer version", "signer name"), "nothing signs these bytes, and gitsign does not look at all of them (T9)"},
		{"NYY", in("digest algorithms", "signer digest algorithm", "signature algorithm"), "nothing signs the names of the algorithms, and gitsign goes by the key (T9)"},
		{"NYY", in("log entry"), "gitsign is content with the log's promise: it does not look at the checkpoint's signature, or skips what it does not know (B19, T9)"},
	}
}
