// Package assets builds the programs that tests and the demonstration run, each
// from the nested module that pins it, and keeps them in a cache.
//
//	bin, err := assets.Ensure(ctx, os.Stderr, "kube-apiserver", "etcd")
//	exec.Command(bin.Path("kube-apiserver"), …)
//
// A program is stored under the digest of all that it is made from: the files
// of its module (go.mod and go.sum among them), the version of the go command,
// and the flags. So it is built once, again when one of these changes, and never
// otherwise. A build takes a lock first, and its result appears by rename: any
// number of processes may call Ensure at the same time.
//
// The cache is $MILLWRIGHT_CACHE, or millwright in the user's cache folder.
// No program is ever deleted from it here.
//
// What it refuses: to download a program instead of building it, and to build
// anything that is not in its catalog. It needs no root, and no network beyond
// the module proxy that the go command is set up with.
package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Bin is where the programs are that one call of Ensure was asked for.
type Bin struct{ files map[string]string }

// Path is the file of a program. It panics for one that Ensure was not asked
// for: that is a slip in the caller and would only show up later, as a program
// that is not there.
func (b Bin) Path(name string) string {
	path, ok := b.files[name]
	if !ok {
		panic("assets: Path(" + name + ") without Ensure of it")
	}
	return path
}

// Ensure sees to it that the named programs are in the cache. What it builds
// it says on progress, a line now and then; nil means quiet. Programs of two
// modules are built at a time: the end of a build, linking, keeps one core busy.
func Ensure(ctx context.Context, progress io.Writer, names ...string) (Bin, error) {
	if progress == nil {
		progress = io.Discard
	}
	modules, err := byModule(names)
	if err != nil {
		return Bin{}, err
	}
	b, err := newBuilder(ctx, &lines{to: progress})
	if err != nil {
		return Bin{}, err
	}
	free, err := b.toolchain.free()
	if err != nil {
		return Bin{}, err
	}
	missing, err := b.missing(names)
	if err != nil {
		return Bin{}, err
	}
	if lean(len(missing), free) {
		fmt.Fprintf(b.progress, "%d GiB are free: what programs are made of is removed after each module, which takes longer than keeping it\n", free)
		return b.ensureLean(ctx, modules)
	}
	return b.ensureAll(ctx, modules, 2)
}

// byModule are the assets that provide the named programs, each once, by their
// modules, in the order in which those are first named.
func byModule(names []string) ([][]asset, error) {
	var modules [][]asset
	place, seen := map[string]int{}, map[string]bool{}
	for _, name := range names {
		a, ok := lookup(name)
		if !ok {
			return nil, fmt.Errorf("there is no program %q; there are %s", name, strings.Join(Names(), ", "))
		}
		if seen[a.names[0]] {
			continue
		}
		seen[a.names[0]] = true
		at, ok := place[a.module]
		if !ok {
			at = len(modules)
			place[a.module], modules = at, append(modules, nil)
		}
		modules[at] = append(modules[at], a)
	}
	return modules, nil
}

// ensureAll builds that many modules at a time, in their order. The first that
// fails ends the others.
func (b builder) ensureAll(ctx context.Context, modules [][]asset, atATime int) (Bin, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	bin := Bin{files: map[string]string{}}
	next := make(chan []asset)
	var one sync.Mutex
	var workers sync.WaitGroup
	for range atATime {
		workers.Go(func() {
			for assets := range next {
				for _, a := range assets {
					dir, err := b.ensure(ctx, a)
					if err != nil {
						cancel(fmt.Errorf("building %s: %w", a.names[0], err))
						break
					}
					one.Lock()
					for _, n := range a.names {
						bin.files[n] = filepath.Join(dir, n)
					}
					one.Unlock()
				}
			}
		})
	}
	for _, assets := range modules {
		if ctx.Err() == nil {
			next <- assets
		}
	}
	close(next)
	workers.Wait()
	return bin, context.Cause(ctx)
}

// builder is what the builds of one call of Ensure have in common.
type builder struct {
	root, cache string
	toolchain   toolchain
	progress    io.Writer
	caches      []string // what the environment says of the go command's caches; nil for its own
}

// lines lets several builds say what they do on one writer.
type lines struct {
	one sync.Mutex
	to  io.Writer
}

func (l *lines) Write(p []byte) (int, error) {
	l.one.Lock()
	defer l.one.Unlock()
	return l.to.Write(p)
}

func newBuilder(ctx context.Context, progress io.Writer) (builder, error) {
	root, err := findRoot()
	if err != nil {
		return builder{}, err
	}
	cache, err := Cache()
	if err != nil {
		return builder{}, err
	}
	toolchain, err := findToolchain(ctx, root)
	return builder{root: root, cache: cache, toolchain: toolchain, progress: progress}, err
}

// Missing are those of the named programs that are not in the cache: Ensure would
// build them.
func Missing(ctx context.Context, names ...string) ([]string, error) {
	b, err := newBuilder(ctx, io.Discard)
	if err != nil {
		return nil, err
	}
	return b.missing(names)
}

func (b builder) missing(names []string) ([]string, error) {
	var missing []string
	for _, name := range names {
		a, ok := lookup(name)
		if !ok {
			return nil, fmt.Errorf("there is no program %q", name)
		}
		there, err := b.there(a)
		if err != nil {
			return nil, err
		}
		if !there {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// there says whether the asset is in the cache.
func (b builder) there(a asset) (bool, error) {
	digest, err := b.digest(a)
	return err == nil && exists(filepath.Join(b.cache, a.names[0], digest)), err
}

// ensure returns the folder that holds the asset's files.
func (b builder) ensure(ctx context.Context, a asset) (string, error) {
	digest, err := b.digest(a)
	if err != nil {
		return "", err
	}
	final := filepath.Join(b.cache, a.names[0], digest)
	if exists(final) {
		return filepath.Join(final, "bin"), nil
	}
	// One build for each module at a time: builds of one module share most of
	// their packages, and two at once would compile them twice.
	unlock, err := b.lock(ctx, strings.ReplaceAll(a.module, "/", "-"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if exists(final) { // somebody else built it while we waited
		return filepath.Join(final, "bin"), nil
	}
	if err := b.build(ctx, a, final); err != nil {
		return "", err
	}
	return filepath.Join(final, "bin"), nil
}

// build makes the asset beside its place and moves it there when it is whole.
func (b builder) build(ctx context.Context, a asset, final string) error {
	if err := os.MkdirAll(filepath.Dir(final), 0o750); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(final), "building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "bin")
	if err := os.Mkdir(dir, 0o750); err != nil {
		return err
	}
	started := time.Now()
	fmt.Fprintf(b.progress, "building %s: first time only, about %s on two cores\n", a.title(), minutes(a.minutes))
	stop := b.heartbeat(a, started)
	err = b.toolchain.compile(ctx, filepath.Join(b.root, a.module), filepath.Join(dir, a.names[0]), a, b.caches)
	stop()
	if err != nil {
		return err
	}
	for _, alias := range a.names[1:] {
		if err := os.Symlink(a.names[0], filepath.Join(dir, alias)); err != nil {
			return err
		}
	}
	if err := os.Rename(tmp, final); err != nil {
		return err
	}
	fmt.Fprintf(b.progress, "built %s in %s\n", a.names[0], time.Since(started).Round(time.Second))
	return nil
}

// heartbeat says every half minute that the build goes on, until stopped.
func (b builder) heartbeat(a asset, started time.Time) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(30 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				fmt.Fprintf(b.progress, "  still building %s: %s\n", a.names[0], time.Since(started).Round(time.Second))
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

func (a asset) title() string { return strings.TrimSpace(a.names[0] + " " + a.version) }

func minutes(n int) string {
	if n == 1 {
		return "1 minute"
	}
	return fmt.Sprintf("%d minutes", n)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Cache is the folder in which programs, and what is made of them, are kept.
func Cache() (string, error) {
	if dir := os.Getenv("MILLWRIGHT_CACHE"); dir != "" {
		if !filepath.IsAbs(dir) {
			return "", errors.New("MILLWRIGHT_CACHE must be an absolute path: tests run in many folders")
		}
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache folder (set MILLWRIGHT_CACHE to choose one): %w", err)
	}
	return filepath.Join(dir, "millwright"), nil
}
