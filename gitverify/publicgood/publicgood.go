// Package publicgood knows the trusted root of the public-good instance of
// Sigstore without any network: from data that a module of the Sigstore project
// embeds, so that go.sum vouches for it.
//
// It is a snapshot, as old as the module. That is enough to verify what was
// signed while its keys were in use, which is what `millwright verify
// --trusted-root public-good` is for. It has no expiry, hears of no revocation,
// and does not know what was added since: the shards of the log's second
// version, and timestamp authorities. What must be up to date follows the TUF
// repository instead, with package tufroot.
//
// The snapshot lies in a package of sigstore-go that is meant for tests, the
// only one that gives it to programs. Therefore only the command line tool may
// link this package, and a test compares the snapshot with the targets that the
// module github.com/sigstore/sigstore ships.
package publicgood

import (
	"errors"
	"fmt"
	"testing"

	"github.com/sigstore/sigstore-go/pkg/testing/data"

	"millwright.dev/millwright/gitverify"
)

// JSON is the snapshot as a trusted_root.json.
func JSON() (text []byte, err error) {
	// The package reports what goes wrong to a test. There is none, so that
	// would be a panic.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: reading the embedded one: %v", gitverify.ErrTrustedRoot, p)
		}
	}()
	root := data.TrustedRoot(&testing.T{}, "public-good.json")
	if root == nil {
		return nil, fmt.Errorf("%w: the embedded one cannot be read", gitverify.ErrTrustedRoot)
	}
	text, err = root.MarshalJSON()
	if err != nil {
		return nil, errors.Join(gitverify.ErrTrustedRoot, err)
	}
	return text, nil
}

// TrustedRoot is the snapshot, ready to verify with.
func TrustedRoot() (gitverify.TrustedRoot, error) {
	text, err := JSON()
	if err != nil {
		return gitverify.TrustedRoot{}, err
	}
	return gitverify.ParseTrustedRoot(text)
}
