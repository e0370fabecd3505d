package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// limitProgram does for a revision what cannot be left out of evidence: it hashes
// and signs each statement (ECDSA P-256), and has the disk take each bundle before
// it goes on. It makes no statement, asks for no certificate and no timestamp, logs
// nothing and sends nothing.
type limitProgram struct {
	key *ecdsa.PrivateKey
	// bundles are those of a real revision.
	bundles [][]byte
	path    string
}

func newLimit(dir string, bundles [][]byte) (*limitProgram, error) {
	if len(bundles) == 0 {
		return nil, errors.New("a revision without bundles leaves nothing to sign")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &limitProgram{key: key, bundles: bundles, path: filepath.Join(dir, "limit")}, err
}

// run does so for a number of revisions, and says how many seconds that took.
func (l *limitProgram) run(ctx context.Context, revisions int) (float64, error) {
	out, err := os.Create(l.path)
	if err != nil {
		return 0, err
	}
	defer out.Close()
	began := time.Now()
	for range revisions {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		for _, bundle := range l.bundles {
			sum := sha256.Sum256(bundle)
			signature, err := ecdsa.SignASN1(rand.Reader, l.key, sum[:])
			if err != nil {
				return 0, err
			}
			if _, err := out.Write(append(signature, bundle...)); err != nil {
				return 0, err
			}
			if err := out.Sync(); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(began).Seconds(), nil
}
