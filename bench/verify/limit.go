package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A commit of gitsign rests on five signatures: of the signer's own key over
// the commit, of the authority over the certificate, of the certificate log
// over its promise, and of the transparency log over its promise and over its
// checkpoint. The limit program verifies five such signatures for each commit
// and hashes its bytes with SHA-256, on all cores, and does nothing else: it
// reads and parses nothing.
type limit struct {
	authorities [4]*ecdsa.PrivateKey
	commits     []limitCommit
}

type limitCommit struct {
	bytes []byte
	sums  [5][]byte
	signs [5][]byte
	key   *ecdsa.PublicKey
}

func newLimit() (*limit, error) {
	l := &limit{}
	for i := range 3 {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		l.authorities[i] = key
	}
	l.authorities[3] = l.authorities[2] // the transparency log signs twice
	return l, nil
}

// add takes in a commit with the key that signed it.
func (l *limit) add(signed []byte, key *ecdsa.PrivateKey) error {
	c := limitCommit{bytes: signed, key: &key.PublicKey}
	for i := range c.sums {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %s", i, signed[:200]))
		by := key
		if i > 0 {
			by = l.authorities[i-1]
		}
		signature, err := ecdsa.SignASN1(rand.Reader, by, sum[:])
		if err != nil {
			return err
		}
		c.sums[i], c.signs[i] = sum[:], signature
	}
	l.commits = append(l.commits, c)
	return nil
}

// run verifies the first n commits and gives wall and CPU seconds.
func (l *limit) run(ctx context.Context, n int) (wall, used float64, err error) {
	before, begin := cpuSeconds(), time.Now()
	var next, bad atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= min(n, len(l.commits)) {
					return
				}
				if !l.verify(l.commits[i]) {
					bad.Add(1)
				}
			}
		})
	}
	group.Wait()
	if bad.Load() > 0 {
		return 0, 0, errors.New("the limit program found a bad signature")
	}
	return time.Since(begin).Seconds(), cpuSeconds() - before, ctx.Err()
}

func (l *limit) verify(c limitCommit) bool {
	sum := sha256.Sum256(c.bytes)
	ok := sum != [sha256.Size]byte{}
	for i := range c.sums {
		key := c.key
		if i > 0 {
			key = &l.authorities[i-1].PublicKey
		}
		ok = ecdsa.VerifyASN1(key, c.sums[i], c.signs[i]) && ok
	}
	return ok
}
