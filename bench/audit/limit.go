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

// A revision rests on ten signatures: five under its commit, and as many under
// its attestation (of the signer's own key, of the authority over the
// certificate, of the certificate log over its promise, of the transparency log
// over its promise and over its checkpoint). The limit program verifies ten such
// signatures for each revision and hashes its bundle with SHA-256, on all cores,
// and does nothing else: it reads and parses nothing.
type limit struct {
	bundles [][]byte
	key     *ecdsa.PrivateKey
	sums    [][]byte
	signs   [][]byte
}

const perRevision = 10

func newLimit(bundles [][]byte) (*limit, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	l := &limit{bundles: bundles, key: key}
	for i := range 1000 { // verifying costs the same, whichever it is
		sum := sha256.Sum256(fmt.Appendf(nil, "%d", i))
		signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
		if err != nil {
			return nil, err
		}
		l.sums, l.signs = append(l.sums, sum[:]), append(l.signs, signature)
	}
	return l, nil
}

// run verifies for all revisions and gives wall and CPU seconds.
func (l *limit) run(ctx context.Context) (wall, used float64, err error) {
	before, begin := cpuSeconds(), time.Now()
	var next, bad atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(l.bundles) {
					return
				}
				if !l.revision(i) {
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

func (l *limit) revision(i int) bool {
	ok := sha256.Sum256(l.bundles[i]) != [sha256.Size]byte{}
	for n := range perRevision {
		at := (i*perRevision + n) % len(l.sums)
		ok = ecdsa.VerifyASN1(&l.key.PublicKey, l.sums[at], l.signs[at]) && ok
	}
	return ok
}
