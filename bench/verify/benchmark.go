package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/tools/assets"
)

type benchmark struct {
	config

	dir string
	log io.Writer

	history *history
	task    task
	limit   *limit
	peers   []peer
	// results are what was measured, by name, one for each round.
	results map[string][]float64
	load    [2]string
}

const (
	issuer = "https://issuer.virtual.test"
	policy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: bench}
spec:
  version: 1
  repository: millwright.dev/bench
  identities:
  - {name: alice, person: alice, issuer: "` + issuer + `", subject: alice@factory.test, roles: [maintainer]}
  - {name: bob, person: bob, issuer: "` + issuer + `", subject: bob@factory.test, emails: [alice@factory.test], roles: [maintainer]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
`
)

// prepare makes the histories.
func (b *benchmark) prepare(ctx context.Context) error {
	fmt.Fprintf(b.log, "making a history of %d commits\n", b.commits)
	virtual, err := sigstoretest.NewVirtual(born())
	if err != nil {
		return err
	}
	if b.limit, err = newLimit(); err != nil {
		return err
	}
	n := 0
	sign := func(unsigned []byte) ([]byte, error) {
		n++
		o := sigstoretest.SignOptions{Subject: []string{"alice@factory.test", "bob@factory.test"}[n%2], IssuedAt: virtual.Now().Add(time.Duration(n) * time.Second / 10)}
		leaf, err := virtual.Leaf(o)
		if err != nil {
			return nil, err
		}
		o.Leaf = &leaf
		signed, err := virtual.SignCommit(unsigned, o)
		if err != nil {
			return nil, err
		}
		return signed, b.limit.add(signed, leaf.Key)
	}
	b.history = newHistory(policy)
	// The steps are linear commits behind the last merge.
	if err := b.history.grow(ctx, b.commits, sign); err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "gitsign")
	if err := b.history.write(ctx, dir); err != nil {
		return err
	}
	trusted, err := virtual.TrustedRootJSON()
	if err != nil {
		return err
	}
	b.task = task{Repository: dir, TrustedRoot: filepath.Join(b.dir, "trusted_root.json"), Anchor: b.history.line[0]}
	if err := os.WriteFile(b.task.TrustedRoot, trusted, 0o600); err != nil {
		return err
	}
	return b.preparePeers(ctx, dir, trusted)
}

func (b *benchmark) preparePeers(ctx context.Context, dir string, trusted []byte) error {
	bin, err := assets.Ensure(ctx, b.log, "gitsign")
	if err != nil {
		return err
	}
	gitsign := bin.Path("gitsign")
	env, err := gitsignEnv(b.dir, trusted)
	if err != nil {
		return err
	}
	var sample []gitverify.ID
	for i, id := range b.history.line { // every second is alice's
		if i > 0 && len(sample) < b.sample && i%max(1, len(b.history.line)/b.sample) == 0 {
			sample = append(sample, id)
		}
	}
	b.peers = []peer{
		{
			name: fmt.Sprintf("`gitsign verify`, %d commits", len(sample)), dir: dir, env: env, program: gitsign, each: sample, commits: len(sample),
			args: []string{"verify", "--certificate-identity-regexp", "^(alice|bob)@factory.test$", "--certificate-oidc-issuer", issuer},
		},
		{
			name: fmt.Sprintf("`git log --format=%%G?` with gitsign, %d commits", b.sample), dir: dir, env: env, program: "git", commits: b.sample,
			args: gitLog(b.sample, b.tip(b.commits), "gpg.format=x509", "gpg.x509.program="+gitsign),
		},
	}
	for _, kind := range []string{"ssh", "pgp"} {
		p, err := forgePeer(ctx, filepath.Join(b.dir, kind), kind, b.gitSample)
		if err != nil {
			return err
		}
		b.peers = append(b.peers, p)
	}
	return nil
}

// tip is the newest commit of the first-parent line before which there are at
// most so many commits.
func (b *benchmark) tip(n int) gitverify.ID { return b.history.line[b.index(n)] }

func (b *benchmark) index(n int) int {
	i, found := slices.BinarySearch(b.history.counted, n)
	if !found {
		i--
	}
	return i
}

// The names of what is measured.
const (
	coldSmall, coldLarge     = "cold small", "cold large"
	coldSmallCPU, coldCPU    = "cold small cpu", "cold large cpu"
	coldSmallPeak, coldPeak  = "cold small peak", "cold large peak"
	plusSmall, plusLarge     = "plus small", "plus large"
	restart, restartPeak     = "restart", "restart peak"
	limitSmall, limitLarge   = "limit small", "limit large"
	limitSmallCPU, limitsCPU = "limit small cpu", "limit large cpu"
)

// measure runs the rounds.
func (b *benchmark) measure(ctx context.Context) error {
	b.load[0] = loadAverage()
	for round := range b.rounds {
		fmt.Fprintf(b.log, "round %d of %d\n", round+1, b.rounds)
		for _, part := range []func(context.Context) error{b.cold, b.limits, b.onTop, b.restarts, b.askPeers} {
			if err := part(ctx); err != nil {
				return err
			}
		}
	}
	b.load[1] = loadAverage()
	return nil
}

func (b *benchmark) note(name string, value float64) {
	b.results[name] = append(b.results[name], value)
}

func (b *benchmark) cold(ctx context.Context) error {
	for _, size := range []struct {
		n                int
		name, cpu, peaks string
	}{{b.small, coldSmall, coldSmallCPU, coldSmallPeak}, {b.commits, coldLarge, coldCPU, coldPeak}} {
		t := b.task
		t.Tips = []gitverify.ID{b.tip(size.n)}
		m, err := t.run(ctx, "cold")
		if err != nil {
			return err
		}
		n := float64(m.Commits)
		b.note(size.name, m.Seconds[0]/n)
		b.note(size.cpu, m.CPU/n)
		b.note(size.peaks, m.PeakMiB)
	}
	return nil
}

func (b *benchmark) limits(ctx context.Context) error {
	for _, size := range []struct {
		n         int
		name, cpu string
	}{{b.small, limitSmall, limitSmallCPU}, {b.commits, limitLarge, limitsCPU}} {
		n := b.history.counted[b.index(size.n)]
		wall, used, err := b.limit.run(ctx, n)
		if err != nil {
			return err
		}
		b.note(size.name, wall/float64(n))
		b.note(size.cpu, used/float64(n))
	}
	return nil
}

// onTop adds commits one by one to a hundred and to all but those.
func (b *benchmark) onTop(ctx context.Context) error {
	last := len(b.history.line) - 1
	for _, size := range []struct {
		from int
		name string
	}{{b.index(100), plusSmall}, {last - b.steps, plusLarge}} {
		t := b.task
		t.Tips = b.history.line[size.from : size.from+b.steps+1]
		m, err := t.run(ctx, "plus")
		if err != nil {
			return err
		}
		b.note(size.name, median(m.Seconds[1:]))
	}
	return nil
}

// restarts starts with the frontier that an earlier process left behind.
func (b *benchmark) restarts(ctx context.Context) error {
	t := b.task
	t.Frontier, t.Tips = filepath.Join(b.dir, "frontier"), []gitverify.ID{b.tip(b.commits)}
	if len(b.results[restart]) == 0 {
		if _, err := t.run(ctx, "frontier"); err != nil {
			return err
		}
	}
	m, err := t.run(ctx, "frontier")
	if err != nil {
		return err
	}
	b.note(restart, m.Seconds[0])
	b.note(restartPeak, m.PeakMiB)
	return nil
}

func (b *benchmark) askPeers(ctx context.Context) error {
	for _, p := range b.peers {
		if p.program == "" {
			continue
		}
		wall, used, err := p.run(ctx)
		if err != nil {
			return err
		}
		b.note(p.name, wall)
		b.note(p.name+" cpu", used)
	}
	return nil
}
