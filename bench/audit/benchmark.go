package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

type benchmark struct {
	config

	dir string
	log io.Writer

	task  task
	limit *limit
	// results are what was measured, by name, one for each round.
	results map[string][]float64
	load    [2]string
	size    int64
}

// prepare makes the factory and its export.
func (b *benchmark) prepare(ctx context.Context) error {
	fmt.Fprintf(b.log, "making a factory with %d revisions\n", b.revisions)
	f, err := audittest.New(filepath.Join(b.dir, "source.git"), time.Now().Add(-time.Hour))
	if err != nil {
		return err
	}
	for i := range b.revisions {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.Change(ctx, []string{audittest.Alice, audittest.Bob}[i%2], fmt.Sprintf("revision %d", i+1)); err != nil {
			return fmt.Errorf("making revision %d: %w", i+1, err)
		}
	}
	repack := exec.CommandContext(ctx, "git", "-C", f.Dir, "repack", "-a", "-d", "-q")
	if out, err := repack.CombinedOutput(); err != nil {
		return fmt.Errorf("git repack: %w\n%s", err, out)
	}
	root, err := f.Virtual.TrustedRootJSON()
	if err != nil {
		return err
	}
	b.task = task{
		Export: filepath.Join(b.dir, "factory.tar.gz"), TrustedRoot: filepath.Join(b.dir, "trusted_root.json"),
		Anchor: string(f.Anchor), Head: f.Records[len(f.Records)-1].Digest,
	}
	if err := os.WriteFile(b.task.TrustedRoot, root, 0o600); err != nil {
		return err
	}
	if b.limit, err = newLimit(bundles(f)); err != nil {
		return err
	}
	return b.export(ctx, f)
}

func bundles(f *audittest.Factory) [][]byte {
	var all [][]byte
	for _, r := range f.Records {
		all = append(all, []byte(base64.StdEncoding.EncodeToString([]byte(r.Bundle))))
	}
	return all
}

func (b *benchmark) export(ctx context.Context, f *audittest.Factory) error {
	store, err := f.Store()
	if err != nil {
		return err
	}
	out, err := os.Create(b.task.Export)
	if err != nil {
		return err
	}
	e := audit.Evidence{Factory: f.Place, ClusterUID: f.Target.ClusterUID, Ref: audittest.Ref, Records: f.Records}
	began := time.Now()
	if err := errors.Join(audit.Write(ctx, out, e, audit.Contents{History: store}), out.Close()); err != nil {
		return err
	}
	info, err := os.Stat(b.task.Export)
	if err != nil {
		return err
	}
	b.size = info.Size()
	fmt.Fprintf(b.log, "the export has %.1f MB and was written in %.1f s\n", float64(b.size)/1e6, time.Since(began).Seconds())
	return nil
}

// The names of what is measured.
const (
	plain, plainCPU, plainPeak          = "plain", "plain cpu", "plain peak"
	rendered, renderedCPU, renderedPeak = "rendered", "rendered cpu", "rendered peak"
	limitWall, limitCPU                 = "limit", "limit cpu"
)

// measure runs the rounds.
func (b *benchmark) measure(ctx context.Context) error {
	b.load[0] = loadAverage()
	for round := range b.rounds {
		fmt.Fprintf(b.log, "round %d of %d\n", round+1, b.rounds)
		for _, size := range []struct {
			render                bool
			wall, cpu, peak, step string
		}{{false, plain, plainCPU, plainPeak, ""}, {true, rendered, renderedCPU, renderedPeak, "rendered "}} {
			t := b.task
			t.Render = size.render
			m, err := t.run(ctx)
			if err != nil {
				return err
			}
			if m.Records != b.revisions || m.Answer != string(audit.Yes) {
				return fmt.Errorf("the audit of %d records says %q", m.Records, m.Answer)
			}
			b.note(size.wall, m.Seconds)
			b.note(size.cpu, m.CPU)
			b.note(size.peak, m.PeakMiB)
			for name, seconds := range m.Checks {
				b.note(size.step+name, seconds)
			}
		}
		wall, used, err := b.limit.run(ctx)
		if err != nil {
			return err
		}
		b.note(limitWall, wall)
		b.note(limitCPU, used)
	}
	b.load[1] = loadAverage()
	return nil
}

func (b *benchmark) note(name string, value float64) {
	b.results[name] = append(b.results[name], value)
}

// signers are whom the audit expects.
func signers() []attest.Policy {
	return []attest.Policy{{Identity: attest.Identity{Issuer: audittest.Workloads, Subject: audittest.Reconciler}}}
}
