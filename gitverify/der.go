package gitverify

import (
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// der reads one DER value after another. The first that is not what was asked
// for makes it, and every reader that came out of it or that it came out of,
// bad; whoever reads looks at that once, before using what was read.
type der struct {
	rest cryptobyte.String
	bad  *bool
}

func readDER(b []byte) *der { return &der{rest: b, bad: new(bool)} }

// ok says whether everything so far was there.
func (d *der) ok() bool { return !*d.bad }

func (d *der) want(found bool) {
	if !found {
		*d.bad, d.rest = true, nil
	}
}

// enter reads the content of the next value.
func (d *der) enter(tag asn1.Tag) *der { return &der{rest: d.content(tag), bad: d.bad} }

// content is the content of the next value.
func (d *der) content(tag asn1.Tag) (content cryptobyte.String) {
	d.want(d.rest.ReadASN1(&content, tag))
	return content
}

// whole is the next value with its header.
func (d *der) whole(tag asn1.Tag) (element cryptobyte.String) {
	d.want(d.rest.ReadASN1Element(&element, tag))
	return element
}

// any is the next value with its header, whatever it is.
func (d *der) any() (element cryptobyte.String) {
	var tag asn1.Tag
	d.want(d.rest.ReadAnyASN1Element(&element, &tag))
	return element
}

// wholeIf is the next value with its header if it has the tag, nil otherwise.
func (d *der) wholeIf(tag asn1.Tag) cryptobyte.String {
	if !d.rest.PeekASN1Tag(tag) {
		return nil
	}
	return d.whole(tag)
}

// number is an INTEGER that fits.
func (d *der) number() (n int) {
	d.want(d.rest.ReadASN1Integer(&n))
	return n
}

// end wants nothing to follow.
func (d *der) end() { d.want(d.rest.Empty()) }

// explicit is a constructed context-specific tag.
func explicit(n uint8) asn1.Tag { return asn1.Tag(n).ContextSpecific().Constructed() }

// encodeDER puts a header before a value that is given in parts.
func encodeDER(tag asn1.Tag, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, 5+n)
	switch {
	case n < 0x80:
		b = append(b, byte(tag), byte(n))
	case n < 0x100:
		b = append(b, byte(tag), 0x81, byte(n))
	case n < 0x10000:
		b = append(b, byte(tag), 0x82, byte(n>>8), byte(n))
	default: // a certificate is part of a signature, which is smaller
		b = append(b, byte(tag), 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
